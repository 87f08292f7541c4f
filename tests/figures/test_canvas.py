import builtins
import sys

import numpy as np
import pytest
import torch

from quatrain.figures.canvas import check_index, grey_image, map_frame, new_figure, render_png
from quatrain.results import drawing
from quatrain.specs import InputError, MissingPackageError


def test_figures_do_not_touch_pyplot_or_the_settings(monkeypatch):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    figure = new_figure(2, 1)
    figure.add_subplot().plot([0, 1], [0, 1])
    assert "matplotlib.pyplot" not in sys.modules
    assert dict(mpl.rcParams) == before


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(drawing.importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r'pip install "quatrain\[study\]"'):
        new_figure(2, 1)


def test_importing_the_package_does_not_import_matplotlib(monkeypatch):
    for name in [each for each in sys.modules if each.startswith("quatrain.figures")]:
        monkeypatch.delitem(sys.modules, name)
    plain = builtins.__import__

    def refuse(name, *arguments, **options):
        assert not name.startswith("matplotlib")
        return plain(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    import quatrain.figures

    assert quatrain.figures.__all__


def test_an_image_of_any_layout_and_range_becomes_grey():
    image = np.random.default_rng(0).normal(size=(3, 5, 7))
    expected = grey_image(image)
    assert expected.min() == 0
    assert expected.max() == 1
    luminance = np.tensordot((0.299, 0.587, 0.114), image, 1)
    np.testing.assert_allclose(expected, (luminance - luminance.min()) / np.ptp(luminance))
    for other in (np.moveaxis(image, 0, 2), torch.from_numpy(image), 4 * image - 7):
        np.testing.assert_allclose(grey_image(other), expected)
    np.testing.assert_allclose(grey_image(image[:1]), grey_image(image[0]))
    np.testing.assert_allclose(grey_image(image[0][..., None]), grey_image(image[0]))


@pytest.mark.parametrize(
    "image", [torch.zeros(3, 4, 5, dtype=torch.bfloat16), np.full((4, 5), 9, dtype=np.uint8)]
)
def test_an_image_of_one_colour_is_black(image):
    assert (grey_image(image) == np.zeros((4, 5))).all()


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 4, 5), (5,), (3, 0, 4)])
def test_an_image_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match="pass one image") as raised:
        grey_image(torch.zeros(shape))
    assert raised.value.field == "image"


def test_a_frame_places_the_centres_of_cells():
    frame = map_frame((3, 5), np.zeros((30, 100)))
    assert frame.unit == "pixels"
    # A cell is 10 pixels high and 20 wide; the centre of pixel 0 is at 0.
    assert frame.place(np.array((0.0, 0.0))).tolist() == [4.5, 9.5]
    assert frame.place(np.array((2.0, 4.0))).tolist() == [24.5, 89.5]
    assert frame.extent(3, 5) == (-0.5, 99.5, 29.5, -0.5)
    cells = map_frame((3, 5), None)
    assert cells.unit == "cells"
    assert cells.place(np.array((2.0, 4.0))).tolist() == [2.0, 4.0]


@pytest.mark.parametrize("value", [-1, 3, 1.0, True, None])
def test_an_index_out_of_range_is_refused(value):
    assert check_index(2, 3, "head") == 2
    with pytest.raises(InputError, match=r"is not among 0\.\.\.2") as raised:
        check_index(value, 3, "head")
    assert raised.value.field == "head"


def test_a_rendered_figure_is_independent_of_the_settings_of_the_user():
    import matplotlib as mpl

    def draw():
        figure = new_figure(2, 1)
        figure.add_subplot().plot([0, 1], [0, 1])
        return figure

    plain = render_png(draw)
    with mpl.rc_context({"font.size": 20, "savefig.dpi": 30, "axes.facecolor": "red"}):
        assert render_png(draw) == plain
        assert mpl.rcParams["font.size"] == 20
