from quatrain.report.page.matrix import build_heat


def test_cells_have_value_fill_expectation_and_miss(matrix_report):
    heat = build_heat(matrix_report.matrix)
    assert heat.groups == ("near", "far")
    rows = dict(heat.rows)
    near, far = rows["0001"]
    assert (near.text, near.fill, near.expected, near.missed) == ("99.0", 100, "≥ 95", False)
    assert (far.text, far.fill, far.expected) == ("12.0", 0, "")
    assert rows["0010"][0].missed
    assert rows["0010"][1].text == "–"
