import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from quatrain.report.labels import place_labels


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.1])
def test_names_of_close_points_do_not_cover_each_other(gap):
    figure = Figure(figsize=(8, 5), dpi=72)
    axes = figure.subplots()
    points = [(1 + gap * number, 2 + gap * (number % 2)) for number in range(6)]
    axes.plot(*zip(*[(0, 0), (3, 3), *points], strict=True), "o")
    names = [f"{number:04b}" for number in range(6)]
    labels = place_labels(figure, axes, points, names, ["black"] * 6)
    assert [label.get_text() for label in labels] == names
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [label.get_window_extent(renderer) for label in labels]
    assert not any(Bbox.intersection(*pair) for pair in itertools.combinations(boxes, 2))


def test_a_name_at_the_edge_stays_inside_the_frame():
    figure = Figure(figsize=(4, 3), dpi=72)
    axes = figure.subplots()
    axes.set_xlim(0, 1)
    (label,) = place_labels(figure, axes, [(1.0, 0.5)], ["a long name"], ["black"])
    box = label.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert box.x1 <= axes.get_window_extent().x1
