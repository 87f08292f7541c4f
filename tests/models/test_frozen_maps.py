import pytest
import torch
from torch.nn.functional import pad

from quatrain.cost import count_multiply_adds
from quatrain.cost.count import meta_image, on_meta
from quatrain.models.frozen_backbone import CHANNELS, STRIDES, FrozenBackboneSpec
from quatrain.models.frozen_maps import FrozenMaps, pad_image, with_mask
from quatrain.specs import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = ((64, 96), (33, 70), (50, 64), (96, 20))
STAGES = {"conv2": (0, 2), "conv3": (2, 3), "conv4": (3, 5), "conv5": (5, 7)}


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("features"))
    return FrozenMaps(FrozenBackboneSpec(cache=cache).build())


def pictures(*sizes):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes
    ]


def batch_of(images, height=96, width=96):
    """The images with their mask, padded with zeros to one size."""
    padded = [
        pad(with_mask(image[None]), (0, width - image.shape[2], 0, height - image.shape[1]))
        for image in images
    ]
    return torch.cat(padded)


@torch.no_grad()
def computed_alone(body, image):
    """The maps of an image by the layers of the network, whose zeros continue the image."""
    network = body.backbone.features.model
    height, width = image.shape[1:]
    x = (image[None].float() - 127) / 128
    x = network.bn1(network.conv_stem(pad(x, (0, -width % 32, 0, -height % 32))))
    maps = {}
    for name, (first, end) in STAGES.items():
        x = maps[name] = network.blocks[first:end](x)
    return maps


def test_maps_of_each_image_are_those_that_the_network_computes_for_it_alone(body):
    images = pictures(*SIZES)
    maps = body(batch_of(images))
    assert list(maps) == list(STRIDES)
    for index, image in enumerate(images):
        for name, expected in computed_alone(body, image).items():
            rows, columns = expected.shape[2:]
            assert maps[name].shape == (4, CHANNELS[name], *(96 // STRIDES[name],) * 2)
            inside = maps[name][index : index + 1, :, :rows, :columns]
            torch.testing.assert_close(inside, expected, rtol=1e-5, atol=1e-5)
            assert expected.std() > 0.01
            assert maps[name][index, :, rows:].count_nonzero() == 0
            assert maps[name][index, :, :, columns:].count_nonzero() == 0


def test_maps_and_files_do_not_depend_on_the_batch(tmp_path):
    body = FrozenMaps(FrozenBackboneSpec(cache=str(tmp_path)).build())
    first, second = pictures((33, 70), (64, 64))
    alone = body(batch_of([first], 64, 96))
    for other, height, width in ((second, 64, 128), (first, 96, 96), (second, 70, 100)):
        together = body(batch_of([first, other], height, width))
        for name, value in alone.items():
            inside = together[name][:1, :, : value.shape[2], : value.shape[3]]
            assert torch.equal(inside, value)
    assert len([*tmp_path.rglob("*.safetensors")]) == 2


def test_the_size_of_a_batch_is_rounded_up_to_the_largest_stride(body):
    maps = body(with_mask(pictures((33, 70))[0][None]))
    assert {name: tuple(value.shape[2:]) for name, value in maps.items()} == {
        "conv2": (16, 24),
        "conv3": (8, 12),
        "conv4": (4, 6),
        "conv5": (2, 3),
    }


def test_images_are_padded_by_the_mean_that_normalization_turns_into_zero():
    (image,) = pictures((33, 70))
    padded = pad_image(image)
    assert padded.shape == (3, 64, 96)
    assert padded.dtype == torch.uint8
    assert torch.equal(padded[:, :33, :70], image)
    assert padded[:, 33:].unique().tolist() == padded[:, :, 70:].unique().tolist() == [127]
    assert torch.equal(pad_image(padded), padded)
    assert pad_image(image[None].expand(2, -1, -1, -1)).shape == (2, 3, 64, 96)


def test_black_pixels_on_the_border_belong_to_the_image(body):
    (image,) = pictures((64, 64))
    image[:, 40:] = 0
    cropped = body(batch_of([image[:, :40]], 64, 64))["conv2"]
    assert not torch.equal(body(batch_of([image], 64, 64))["conv2"], cropped)


def test_a_body_has_neither_parameters_nor_state(body):
    assert [*body.parameters()] == [*body.state_dict()] == []
    assert body.channels == CHANNELS


def test_on_the_meta_device_each_image_fills_the_batch(body):
    with on_meta():
        meta = FrozenMaps(FrozenBackboneSpec().build())
    images = with_mask(meta_image((33, 70)))
    assert meta(images)["conv2"].shape[2:] == (16, 24)
    counted = count_multiply_adds(meta, images)
    real = with_mask(pictures((33, 70))[0][None])
    assert counted == count_multiply_adds(body, real)
    assert counted == count_multiply_adds(body.backbone, pad_image(real[:, :3])) > 0


def test_more_images_than_the_limit_are_refused(tmp_path):
    body = FrozenMaps(FrozenBackboneSpec(cache=str(tmp_path)).build())
    body.backbone.features.limit = 1
    body(batch_of(pictures((33, 70)) * 2))
    with pytest.raises(InputError) as error:
        body(batch_of(pictures((33, 70), (33, 64))))
    assert error.value.field == "limit"
