import itertools
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from quatrain.report.page.svg import (
    Scale,
    axes,
    log_ticks,
    place_labels,
    scale_around,
    tag,
    text_width,
    ticks,
    write_tick,
)

FINITE = st.floats(-1e9, 1e9, allow_nan=False)


@pytest.mark.parametrize("text", ["<b>", '"&', "nul \x00", "\x1b[31m", "a\nb", "日本 😀", "\u202e"])
def test_elements_with_any_text_are_well_formed(text):
    element = ElementTree.fromstring(tag("g", tag("text", text), aria_label=text, x=1.5))
    assert element.get("x") == "1.5"
    assert "\u202e" not in element.get("aria-label")
    assert ElementTree.fromstring(tag("text", "<b>")).text == "<b>"


def test_attributes_without_value_are_omitted_and_markup_is_kept():
    assert tag("a", Markup("<b/>"), class_=None, x=-0.0) == '<a x="-0"><b/></a>'


@given(FINITE, st.floats(1e-3, 1e9), st.integers(2, 10))
def test_ticks_are_evenly_spaced_and_within_the_range(low, width, most):
    found = ticks(low, low + width, most)
    assert len(found) <= most + 1
    tolerance = 1e-6 * (abs(low) + width)
    assert all(low - tolerance <= at <= low + width + tolerance for at in found)
    gaps = [b - a for a, b in itertools.pairwise(found)]
    assert not gaps or max(gaps) - min(gaps) <= tolerance


def test_logarithmic_ticks_and_scale():
    assert log_ticks(3, 60) == [5, 10, 20, 50]
    assert log_ticks(1, 1e6) == [10.0**n for n in range(7)]
    scale = Scale(1, 100, 0, 200, log=True)
    assert scale(10) == pytest.approx(100)
    assert scale.ticks == [1, 2, 5, 10, 20, 50, 100]


def test_scale_of_one_value_has_a_width():
    for value in (0.0, 5.0, -1e100):
        scale = scale_around([value], 0, 100)
        assert 0 <= scale(value) <= 100


def test_ticks_are_written_for_people():
    assert [write_tick(x) for x in (-0.5, 20000.0, 1e-7)] == ["−0.5", "20,000", "1e−07"]


@pytest.mark.parametrize("gap", [0.0, 0.5, 5.0, 60.0])
def test_labels_cover_no_point_and_no_label_and_stay_in_the_frame(gap):
    points = [(50 + gap * n, 100 + gap * (n % 3)) for n in range(12)]
    texts = [f"{n:04b}+deformable" for n in range(12)]
    frame = (0, 0, 900, 400)
    places = place_labels(points, texts, frame)
    boxes = [
        (x, y - 10, x + text_width(text, 11), y + 3)
        for text, place in zip(texts, places, strict=True)
        if place
        for x, y in [place]
    ]
    assert places[0]
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for left, top, right, bottom in boxes:
        assert left >= 0
        assert right <= 900
        assert not any(left < x < right and top < y < bottom for x, y in points)


def test_axes_name_both_quantities():
    text = axes(Scale(0, 10, 50, 500), Scale(0, 1, 300, 20), "cost <M>", "BLEU")
    root = ElementTree.fromstring(text)
    assert {"cost <M>", "BLEU", "0.2", "10"} <= {node.text for node in root.iter("text")}
