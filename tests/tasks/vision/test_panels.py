import io
import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from quatrain.specs import MissingPackageError, StudyError
from quatrain.tasks.vision.panels import Box, Panel, draw_panels, to_array, write_picture

RED, BLUE = (200, 0, 0), (0, 0, 200)


def uniform(width, height, color=RED):
    return np.full((height, width, 3), color, dtype=np.uint8)


def extent(picture, color):
    """Top, left, bottom and right of the pixels of a colour."""
    pixels = np.argwhere((np.asarray(picture) == color).all(-1))
    return (*pixels.min(0).tolist(), *(pixels.max(0) + 1).tolist())


def test_channels_become_the_last_axis():
    pixels = torch.arange(3 * 2 * 5, dtype=torch.uint8).reshape(3, 2, 5)
    array = to_array(pixels)
    assert array.shape == (2, 5, 3)
    assert array[1, 4].tolist() == [9, 19, 29]


@pytest.mark.parametrize("size", [(96, 64), (400, 1), (1000, 500), (30, 3000), (1, 1)])
def test_the_longer_side_of_a_panel_has_400_pixels(size):
    top, left, bottom, right = extent(draw_panels([Panel("", uniform(*size))]), RED)
    for pixels, side in ((bottom - top, size[1]), (right - left, size[0])):
        assert pixels == pytest.approx(max(400 * side / max(size), 1), abs=2)


def test_panels_of_a_row_are_aligned_and_rows_follow_each_other():
    colors = [(10 * index, 100, 0) for index in range(5)]
    panels = [Panel("a caption", uniform(20, 10, color)) for color in colors]
    picture = draw_panels(panels, columns=2)
    corners = [extent(picture, color)[:2] for color in colors]
    (t0, l0), (t1, l1), (t2, l2), (t3, l3), (t4, l4) = corners
    assert t0 == t1 < t2 == t3 < t4
    assert l0 == l2 == l4 < l1 == l3


def test_a_title_a_wrapped_caption_and_a_legend_need_space():
    plain = draw_panels([Panel("", uniform(300, 20))])
    titled = draw_panels([Panel("", uniform(300, 20))], title="a title")
    wrapped = draw_panels([Panel("a long caption " * 10, uniform(300, 20))])
    legend = {f"class number {index}": (0, 255, index) for index in range(20)}
    with_legend = draw_panels([Panel("", uniform(300, 20))], legend=legend)
    assert titled.height > plain.height
    assert wrapped.height > plain.height
    assert wrapped.width == plain.width
    lowest = extent(with_legend, RED)[2]
    assert all(extent(with_legend, color)[0] > lowest for color in legend.values())


def test_a_box_is_drawn_at_its_pixels_and_its_label_beside_it():
    box = Box((10, 20, 30, 40), BLUE)
    top, left, bottom, right = extent(draw_panels([Panel("", uniform(100, 100))]), RED)
    assert (bottom - top, right - left) == (400, 400)
    for label in ("", "a name"):
        panel = Panel("", uniform(100, 100), [box._replace(label=label)])
        y0, x0, y1, _ = extent(draw_panels([panel]), BLUE)
        assert x0 - left == pytest.approx(40, abs=3)
        assert y1 - top == pytest.approx(160, abs=3)
        assert (y0 - top < 75) == bool(label)


def test_a_label_stays_inside_of_the_panel():
    boxes = [Box((90, 0, 120, 30), BLUE, "a name"), Box((-20, 95, 3, 110), BLUE, "a name")]
    picture = draw_panels([Panel("", uniform(100, 100), boxes)])
    y0, x0, y1, x1 = extent(picture, BLUE)
    top, left, bottom, right = extent(draw_panels([Panel("", uniform(100, 100))]), RED)
    assert (y0 >= top, x0 >= left, y1 <= bottom, x1 <= right) == (True,) * 4


def test_captions_and_names_may_have_any_characters():
    name = "zwei\nZeilen $x_ ÄÖ 中 <b>\x00"
    panel = Panel(name, uniform(10, 10), [Box((1, 1, 5, 5), BLUE, name)])
    assert draw_panels([panel], title=name, legend={name: BLUE, "_hidden": RED}).width > 10


def test_a_png_is_written_whole_and_reproducibly(tmp_path):
    panel = Panel("a", uniform(30, 20), [Box((1, 1, 5, 5), BLUE, "b")])
    picture = draw_panels([panel], legend={"b": BLUE})
    name = write_picture(tmp_path / "new" / "a-1.png", picture)
    assert name == "a-1.png"
    content = (tmp_path / "new" / name).read_bytes()
    read = Image.open(io.BytesIO(content))
    assert read.format == "PNG"
    assert np.array_equal(np.asarray(read), np.asarray(picture))
    write_picture(tmp_path / "b.png", draw_panels([panel], legend={"b": BLUE}))
    assert (tmp_path / "b.png").read_bytes() == content


def test_settings_of_the_user_do_not_change_a_picture():
    panel = Panel("a", uniform(30, 20), [Box((1, 1, 5, 5), BLUE, "b")])
    expected = np.asarray(draw_panels([panel], title="a title"))
    with mpl.rc_context({"font.family": "monospace", "figure.facecolor": "black"}):
        assert np.array_equal(np.asarray(draw_panels([panel], title="a title")), expected)


def test_pictures_need_the_extra_that_installs_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError) as raised:
        draw_panels([Panel("", uniform(3, 3))])
    assert "quatrain[study]" in str(raised.value)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError):
        write_picture(tmp_path / "file" / "a.png", draw_panels([Panel("", uniform(3, 3))]))
