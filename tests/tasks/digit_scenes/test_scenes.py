import hashlib

import numpy as np
import pytest
import torch

from quatrain.specs import SpecError
from quatrain.tasks.digit_scenes import scenes as scenes_module
from quatrain.tasks.digit_scenes.scenes import DigitScenesSpec, draw_scene


@pytest.fixture(scope="module")
def scenes():
    return DigitScenesSpec(train=60, valid=10, test=20).make()


def test_scenes_have_the_specified_size_and_number(scenes):
    assert (len(scenes.train), len(scenes.valid), len(scenes.test)) == (60, 10, 20)
    for scene in scenes.train:
        assert scene.image.shape == (3, 96, 96)
        assert scene.instances.shape == (96, 96)
        assert 1 <= len(scene.digits) <= 4
    assert draw_scene(DigitScenesSpec(size=64), "valid", 0).image.shape == (3, 64, 64)


def test_masks_do_not_overlap_and_are_not_empty(scenes):
    for scene in scenes.train:
        assert scene.masks.sum(0).max() <= 1
        assert scene.masks.flatten(1).sum(1).min() > 20
        assert int(scene.instances.max()) == len(scene.digits)


def test_all_ten_digits_and_one_to_four_a_scene_occur(scenes):
    names = torch.cat([scene.digits for scene in scenes.train])
    assert set(names.tolist()) == set(range(10))
    assert {len(scene.digits) for scene in scenes.train} == {1, 2, 3, 4}


def test_digits_contrast_with_the_background():
    scene = draw_scene(DigitScenesSpec(clutter=0, most=1), "train", 3)
    pixels = scene.image.double()
    digit, background = pixels[:, scene.masks[0]].mean(1), pixels[:, scene.instances == 0].mean(1)
    assert (digit - background).abs().min() > 20


def test_more_scenes_of_one_part_do_not_change_other_scenes(scenes):
    more = DigitScenesSpec(train=61, valid=10, test=20).make()
    assert torch.equal(more.train[7].image, scenes.train[7].image)
    assert torch.equal(more.test[19].image, scenes.test[19].image)
    assert more.hashes != scenes.hashes
    assert more.test_hashes == scenes.test_hashes


def test_variants_differ():
    first, second = (draw_scene(DigitScenesSpec(variant=v), "test", 0) for v in (0, 1))
    assert not torch.equal(first.image, second.image)


def test_the_parts_share_no_digit_images_digit(monkeypatch):
    """Blanking the digits outside of the range of a part leaves its scenes unchanged."""
    images, names = scenes_module._digit_images()
    spec = DigitScenesSpec()
    for part, (low, high) in scenes_module._RANGES.items():
        subset = np.zeros_like(images)
        subset[low:high] = images[low:high]
        expected = draw_scene(spec, part, 5)
        monkeypatch.setattr(scenes_module, "_digit_images", lambda subset=subset: (subset, names))
        assert torch.equal(draw_scene(spec, part, 5).image, expected.image)
        monkeypatch.undo()
    ranges = sorted(scenes_module._RANGES.values())
    assert [high for _, high in ranges] == [*(low for low, _ in ranges[1:]), len(images)]


def test_digits_have_the_specified_height():
    spec = DigitScenesSpec(clutter=0, most=1, lowest=0.4, highest=0.5)
    scenes = [draw_scene(spec, "train", number) for number in range(20)]
    heights = [int(scene.masks[0].any(1).sum()) for scene in scenes]
    assert max(heights) <= 48
    assert min(heights) > 32  # the highest by default
    with pytest.raises(SpecError) as error:
        DigitScenesSpec(lowest=0.25, highest=0.2)
    assert error.value.field == "DigitScenesSpec.highest"


def test_the_pixels_are_the_same_everywhere():
    pixels = draw_scene(DigitScenesSpec(), "train", 0).image.numpy().tobytes()
    assert hashlib.sha256(pixels).hexdigest()[:16] == "b80680754f6be6f6"


def test_a_size_below_the_minimum_is_refused():
    with pytest.raises(SpecError) as error:
        DigitScenesSpec(size=20)
    assert "size" in error.value.field
