import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from quatrain.specs import StudyError
from quatrain.tasks.vision.panels import (
    GAP,
    INK,
    PAPER,
    SIDE,
    Panel,
    Swatch,
    arrange,
    fit,
    fitted,
    tag,
    text_width,
    to_image,
    write_picture,
)

RED, BLUE = (200, 0, 0), (0, 0, 200)


def plain(width, height, color=RED):
    return Image.new("RGB", (width, height), color)


def places(picture, color):
    """Rows and columns of the pixels of that colour."""
    return np.argwhere((np.asarray(picture) == color).all(-1))


def box_of(picture, color):
    found = places(picture, color)
    return (*found.min(0).tolist(), *found.max(0).tolist())


def test_pixels_keep_their_places_and_channels():
    pixels = torch.arange(3 * 2 * 5, dtype=torch.uint8).reshape(3, 2, 5)
    image = to_image(pixels)
    assert image.size == (5, 2)
    assert image.getpixel((4, 1)) == (9, 19, 29)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((96, 64), (384, 256)),
        ((400, 1), (400, 1)),
        ((399, 201), (399, 201)),
        ((1000, 500), (400, 200)),
        ((30, 3000), (4, 400)),
        ((1, 4000), (1, 400)),
    ],
)
def test_a_panel_grows_by_whole_numbers_or_shrinks_to_its_side(size, expected):
    assert fitted(size) == expected
    assert max(expected) <= SIDE
    image, (across, down) = fit(plain(*size))
    assert image.size == expected
    assert (across * size[0], down * size[1]) == expected


def test_a_small_image_shows_its_pixels_as_squares():
    pixels = torch.randint(256, (3, 20, 30), dtype=torch.uint8)
    image, (across, _) = fit(to_image(pixels))
    assert across == 13
    assert np.array_equal(np.asarray(image)[6::13, 6::13], pixels.permute(1, 2, 0).numpy())


def test_panels_stand_beside_each_other_at_the_same_height():
    picture = arrange([Panel("a", plain(100, 50)), Panel("b", plain(60, 80, BLUE))])
    top, left, bottom, right = box_of(picture, RED)
    assert (bottom - top + 1, right - left + 1) == (50, 100)
    other = box_of(picture, BLUE)
    assert other[0] == top
    assert other[1] == right + 1 + GAP
    assert (other[2] - other[0] + 1, other[3] - other[1] + 1) == (80, 60)
    assert picture.size == (2 * 100 + 3 * GAP, other[2] + 1 + GAP)
    assert len(places(np.asarray(picture)[:top], INK)) > 0


def test_rows_follow_each_other_and_the_last_may_be_shorter():
    colors = [(number, 100, 0) for number in range(5)]
    picture = arrange([Panel("", plain(20, 10, color)) for color in colors], columns=2)
    corners = [box_of(picture, color)[:2] for color in colors]
    assert [corner[1] for corner in corners] == [GAP, 28 + GAP] * 2 + [GAP]
    assert corners[0][0] == corners[1][0] < corners[2][0] == corners[3][0] < corners[4][0]


def test_a_caption_longer_than_its_panel_makes_room():
    caption = "a caption that is much longer than the panel below it"
    picture = arrange([Panel(caption, plain(10, 10)), Panel("b", plain(10, 10, BLUE))])
    assert box_of(picture, BLUE)[1] == GAP + text_width(caption) + GAP


def test_a_legend_wraps_below_the_panels_and_a_title_stands_above():
    swatches = [Swatch((0, 255, number), f"class number {number}") for number in range(7)]
    panel = Panel("", plain(300, 20))
    picture = arrange([panel], legend=swatches)
    boxes = [box_of(picture, swatch.color) for swatch in swatches]
    assert min(box[0] for box in boxes) > box_of(picture, RED)[2]
    assert len({box[0] for box in boxes}) > 1
    assert max(box[2] for box in boxes) < picture.height
    titled = arrange([panel], legend=swatches, title="a title")
    assert box_of(titled, RED)[0] > box_of(picture, RED)[0]


def test_a_tag_stays_inside_and_its_text_can_be_read():
    for at, expected in (((-50, -50), (0, 0)), ((500, 500), (84, 60))):
        image = plain(100, 100, PAPER)
        tag(ImageDraw.Draw(image), at, "M", BLUE)
        top, left, *_ = box_of(image, BLUE)
        assert (left, top) <= (100 - text_width("M") - 4, 84)
        assert (left == 0) == (expected == (0, 0))
    for ground, ink in ((BLUE, PAPER), ((255, 255, 0), INK)):
        image = plain(100, 100, RED)
        tag(ImageDraw.Draw(image), (10, 10), "MMM", ground)
        assert len(places(image, ink)) > 0


def test_names_of_any_letters_are_one_line():
    picture = arrange([Panel("zwei\nZeilen ÄÖ 中 <b>", plain(10, 10))], title="a\nb\t" + "\x00")
    assert picture.width > 10


def test_a_png_is_written_whole_and_the_same_each_time(tmp_path):
    picture = arrange([Panel("a", plain(30, 20))])
    name = write_picture(tmp_path / "new" / "a-1.png", picture)
    assert name == "a-1.png"
    content = (tmp_path / "new" / name).read_bytes()
    read = Image.open(io.BytesIO(content))
    assert (read.format, read.size) == ("PNG", picture.size)
    assert np.array_equal(np.asarray(read), np.asarray(picture))
    write_picture(tmp_path / "b.png", picture)
    assert (tmp_path / "b.png").read_bytes() == content


def test_a_folder_that_refuses_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="a folder that can be written"):
        write_picture(tmp_path / "file" / "a.png", plain(3, 3))
