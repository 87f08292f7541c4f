import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import SpecError
from quatrain.tasks.detection.augment import DetectionAugmentation, rescale
from quatrain.tasks.detection.corpus import DetectionSample


def sample(height=40, width=60):
    """A white rectangle on black with its box, and a crowd box."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[:, 10:20, 30:50] = 255
    boxes = torch.tensor([[30.0, 10, 50, 20], [0, 0, 8, 8]])
    return DetectionSample(image, boxes, torch.tensor([3, 1]), torch.tensor([False, True]), 7)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_the_shorter_side_is_resized_unless_the_longer_one_gets_too_long():
    paper = DetectionAugmentation()
    assert paper.resized(480, 640) == (800, 1067)
    assert paper.resized(640, 480) == (1067, 800)
    assert paper.resized(400, 1000) == (533, 1333)
    assert paper.resized(1600, 1600) == (800, 800)


@pytest.mark.parametrize("seed", range(4))
def test_boxes_follow_their_pixels(seed):
    augmented = DetectionAugmentation(shorter=80, longer=200).train(sample(), seeded(seed))
    assert augmented.image.shape == (3, 80, 120)
    assert type(augmented.image) is type(augmented.boxes) is torch.Tensor
    x0, y0, x1, y1 = augmented.boxes[0].int().tolist()
    assert augmented.image[:, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].min() == 255
    augmented.image[:, y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = 0
    assert augmented.image.max() == 0
    assert augmented.labels.tolist() == [3, 1]
    assert augmented.crowd.tolist() == [False, True]


def test_flips_have_their_probability():
    plan = DetectionAugmentation(shorter=40, longer=60)
    lefts = {float(plan.train(sample(), seeded(seed)).boxes[0, 0]) for seed in range(8)}
    assert lefts == {30.0, 10.0}
    never = DetectionAugmentation(shorter=40, longer=60, flip=0.0)
    assert {float(never.train(sample(), seeded(s)).boxes[0, 0]) for s in range(8)} == {30.0}
    always = DetectionAugmentation(shorter=40, longer=60, flip=1.0)
    assert {float(always.train(sample(), seeded(s)).boxes[0, 0]) for s in range(8)} == {10.0}


def test_a_sample_depends_on_its_generator_alone():
    plan = DetectionAugmentation(shorter=40, longer=60)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = [float(plan.train(sample(), seeded(seed)).boxes[0, 0]) for seed in range(8)]
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert first == [float(plan.train(sample(), seeded(s)).boxes[0, 0]) for s in range(8)]


def test_held_out_images_are_not_flipped():
    augmented = DetectionAugmentation(shorter=40, longer=60, flip=1.0).evaluate(sample())
    assert torch.equal(augmented.image, sample().image)
    assert torch.equal(augmented.boxes, sample().boxes)


@given(st.integers(8, 300), st.integers(8, 300))
def test_rescaled_boxes_are_restored_by_the_inverse(height, width):
    before, after = (height, width), DetectionAugmentation().resized(height, width)
    boxes = torch.tensor([[0.0, 0, width, height], [1, 2, 5, 7]])
    rescaled = rescale(boxes, before, after)
    assert rescaled[0].tolist() == pytest.approx([0, 0, after[1], after[0]])
    torch.testing.assert_close(rescale(rescaled, after, before), boxes)


def test_an_image_without_boxes_is_augmented():
    empty = DetectionSample(
        sample().image,
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.long),
        torch.zeros(0, dtype=torch.bool),
        1,
    )
    augmented = DetectionAugmentation(shorter=20, longer=60, flip=1.0).train(empty, seeded(0))
    assert augmented.boxes.shape == (0, 4)


def test_the_sides_must_be_in_order():
    with pytest.raises(SpecError) as error:
        DetectionAugmentation(longer=700)
    assert error.value.field == "DetectionAugmentation.longer"
