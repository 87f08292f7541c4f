import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quatrain.specs import SpecError, canonical
from quatrain.tasks.segmentation.augment import SegmentationAugmentation
from quatrain.tasks.segmentation.corpus import IGNORE, SegmentationSample


def sample(height=30, width=50):
    """An image whose grey values are 40 times the class, to compare it with its label."""
    label = torch.zeros(height, width, dtype=torch.long)
    label[:, width // 3 :] = 2
    label[height // 2 :, width // 2 :] = 5
    return SegmentationSample((40 * label)[None].repeat(3, 1, 1).byte(), label, 4)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 10_000), st.integers(8, 80))
@settings(max_examples=30)
def test_labels_follow_their_pixels(seed, crop):
    augmented = SegmentationAugmentation(crop=crop).train(sample(), seeded(seed))
    assert augmented.image.shape == (3, crop, crop)
    assert augmented.label.shape == (crop, crop)
    assert type(augmented.image) is type(augmented.label) is torch.Tensor
    assert augmented.image.dtype == torch.uint8
    assert augmented.label.dtype == torch.int64
    assert augmented.image_id == 4
    assert set(augmented.label.unique().tolist()) <= {0, 2, 5, IGNORE}
    padding = augmented.label == IGNORE
    assert (augmented.image[:, padding] == torch.tensor([[124], [116], [104]])).all()
    # Interpolation changes edges only: most pixels have the grey value of their class.
    agree = augmented.image[0][~padding] == 40 * augmented.label[~padding]
    assert agree.double().mean() > 0.6


def test_a_crop_has_a_height_and_a_width():
    plan = SegmentationAugmentation(smallest=1.0, largest=1.0, crop=(30, 60), flip=0.0)
    augmented = plan.train(sample(), seeded(0))
    assert augmented.image.shape == (3, 30, 60)
    assert torch.equal(augmented.label[:, :50], sample().label)
    assert (augmented.label[:, 50:] == IGNORE).all()
    square = SegmentationAugmentation(crop=20)
    assert plan.crop_size == (30, 60)
    assert square.crop_size == (20, 20)
    assert canonical(square)["crop"] == 20
    assert SegmentationAugmentation.from_json(plan.to_json()) == plan
    assert plan.model_copy(update={"largest": 1.5}).scaled_size(30, 50) == (45, 75)


@pytest.mark.parametrize("crop", [0, (30, 0), -3])
def test_a_crop_without_pixels_is_refused(crop):
    with pytest.raises(SpecError) as error:
        SegmentationAugmentation(crop=crop)
    assert error.value.field == "SegmentationAugmentation.crop"


def test_scale_factors_cover_their_range():
    plan = SegmentationAugmentation(smallest=0.5, largest=2.0, crop=100)
    widths = [
        int((plan.train(sample(), seeded(seed)).label != IGNORE).any(0).sum()) for seed in range(60)
    ]
    assert 25 <= min(widths) < 32
    assert 92 < max(widths) <= 100


def test_crops_are_taken_at_all_places():
    plan = SegmentationAugmentation(smallest=1.0, largest=1.0, crop=10, flip=0.0)
    height, width = 12, 13
    place = torch.arange(height)[:, None] * width + torch.arange(width)
    whole = SegmentationSample(torch.zeros(3, height, width, dtype=torch.uint8), place, 0)
    corners = {int(plan.train(whole, seeded(seed)).label[0, 0]) for seed in range(200)}
    assert corners == {row * width + column for row in range(3) for column in range(4)}


def test_flips_have_their_probability():
    def right(flip, seed):
        plan = SegmentationAugmentation(smallest=1.0, largest=1.0, crop=30, flip=flip)
        return int(plan.train(sample(width=30), seeded(seed)).label[0, -1])

    assert {right(0.0, seed) for seed in range(8)} == {2}
    assert {right(1.0, seed) for seed in range(8)} == {0}
    assert {right(0.5, seed) for seed in range(8)} == {0, 2}


def test_a_sample_depends_on_its_generator_alone():
    plan = SegmentationAugmentation(crop=20)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = plan.train(sample(), seeded(3))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    again = plan.train(sample(), seeded(3))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.label, again.label)


def test_the_factors_must_be_in_order():
    with pytest.raises(SpecError) as error:
        SegmentationAugmentation(largest=0.5)
    assert error.value.field == "SegmentationAugmentation.largest"
