"""docs/performance.md, docs/performance_tables.md and the comparison of results."""

import pytest
from benchmarks import performance, plots, summary, targets
from benchmarks.result import Result

from quatrain.specs import ALL_TERM_SETS


def result(name="steps", dtype="float32", **row):
    return Result.from_rows(name, rounds=1, rows=[{"terms": "0011", **row}], dtype=dtype)


def all_terms(name):
    return [{"map": name, "terms": str(each), "time / dense": 0.1} for each in ALL_TERM_SETS]


def test_result_round_trips_and_formats_as_table():
    rows = [{"case": "a", "ratio": 0.0912, "ms": 1234.5}]
    original = Result.from_rows("mixers", rounds=3, rows=rows)
    assert Result.from_json(original.to_json()) == original
    table = "| case | ratio | ms |\n| --- | ---: | ---: |\n| a | 0.0912 | 1,234 |"
    assert original.markdown() == table
    assert original.text().endswith("3 rounds\ncase  ratio   ms\na     0.0912  1,234")


def test_regression_is_a_ratio_more_than_a_quarter_worse():
    def attention(ratio, ms, terms="0011", method="separable"):
        row = {"terms": terms, "method": method, "time / dense": ratio, "ms": ms}
        return Result.from_rows("attention", rounds=1, rows=[row])

    published = [attention(0.1, 1.0)]
    assert performance.find_regressions(attention(0.12, 900.0), published) == []
    assert performance.find_regressions(attention(0.13, 1.0), published) == [
        "0011: time / dense is 0.13, published 0.1"
    ]
    assert performance.find_regressions(attention(0.13, 1.0, method="fused"), published)
    assert performance.find_regressions(attention(0.1, 1.0, terms="0001"), published) == [
        "0001: not published"
    ]


@pytest.mark.parametrize(
    ("column", "published", "accepted", "rejected"),
    [
        ("late / early", 1.0, 1.2, 1.3),
        ("memory growth", 2.0, 2.4, 2.6),
        ("speed of ours / its own", 1.66, 1.4, 0.1),
        ("memory / dense", 1e-5, 9e-3, 1.3e-2),
        ("time / dense", 1e-3, 1.2e-3, 9e-3),
    ],
)
def test_regression_depends_on_the_direction_of_a_column(column, published, accepted, rejected):
    before = [result(**{column: published})]
    assert performance.find_regressions(result(**{column: accepted}), before) == []
    assert len(performance.find_regressions(result(**{column: rejected}), before)) == 1


def test_rows_of_other_columns_are_not_compared():
    before = [result(**{"ms at 10,000": 3.0, "late / early": 6.1})]
    new = result(**{"ms at 1,000": 1.0, "late / early": 3.0})
    assert performance.find_regressions(new, before) == ["0011: not published"]


def test_rows_without_ratio_or_of_another_dtype_are_not_compared():
    before = [result(**{"time / dense": 0.1}), result(dtype="bfloat16", ms=1.0)]
    new = result(dtype="bfloat16", **{"time / dense": 9.0})
    assert performance.find_regressions(new, before) == ["0011: not published"]


def test_pages_and_plots_are_generated_from_the_published_results():
    results = performance.published()
    assert performance.PAGE.read_text() == performance.page(results)
    assert performance.TABLES_PAGE.read_text() == performance.tables_page(results)
    for path, svg in performance.drawings(results).items():
        assert path.read_text() == svg


def test_first_page_starts_with_summary_and_both_plots_and_has_no_raw_table():
    results = performance.published()
    page, tables = performance.page(results), performance.tables_page(results)
    first_screen = page.split("\n## ")[0]
    assert summary.table(results) in first_screen
    assert first_screen.count(".svg)") == 2
    assert len(first_screen.splitlines()) <= 24
    for each in results:
        assert each.markdown() in tables
        assert each.markdown() not in page


def test_plots_leave_out_zeros():
    row = {"map": "5x5", "terms": "0010", "pass": "forward", "MiB": 0.0, "memory / dense": 0.0}
    assert ">0010<" in plots.memory_svg([{**row, "MiB": 1.0, "memory / dense": 0.5}])
    assert ">0010<" not in plots.memory_svg([row])


def test_plots_label_each_term_set_once_and_skip_close_ticks():
    row = {"terms": "0010", "pass": "forward", "ms": 3.0, "time / dense": 0.5}
    sizes = ("64x64", "50x84", "96x96")
    svg = plots.time_svg([{**row, "map": name} for name in sizes])
    counts = [svg.count(f">{text}<") for text in ("0010", "4,096", "4,200", "9,216")]
    assert counts == [1, 2, 0, 2]
    assert "mathdefault" not in svg
    assert "<title>attention-time</title>" in svg


def test_page_lists_benchmarks_and_maps_without_result():
    rows = [*all_terms("64x64"), {"map": "96x96", "terms": "0011", "time / dense": 0.1}]
    page = performance.page([Result.from_rows("attention", rounds=1, rows=rows)])
    section = page.split("## Not measured")[1]
    assert "`python -m benchmarks.mixers`" in section
    assert "attention on 96x96" in section
    assert "anything on a GPU" in section
    assert "attention on 64x64" not in section


def test_page_names_maps_and_dtypes_with_a_result_of_a_gpu():
    machine = {"device": "cuda (H)", "dtype": "bfloat16"}
    on_gpu = Result("attention", machine, 1, all_terms("64x64"))
    section = performance.page([on_gpu]).split("## Not measured")[1]
    assert "- anything on a GPU except attention in bfloat16 on 64x64\n" in section


def test_target_is_decided_by_the_worst_of_its_rows():
    rows = [
        {"map": "64x64", "terms": terms, "pass": "forward", "time / dense": ratio}
        for terms, ratio in (("0001", 0.02), ("0011", 0.05), ("1111", 0.9))
    ]
    table = targets.table([Result.from_rows("attention", rounds=1, rows=rows)])
    line = next(line for line in table.splitlines() if "0001, 0011; forward" in line)
    assert line.endswith("| time / dense | ≤ 0.04 | 0.05 | **no** |")
    assert "0010" not in table


def test_reason_of_a_missed_target_follows_the_table():
    def table(growth):
        rows = [{"terms": "0000", "memory growth": growth}]
        return targets.table([Result.from_rows("sequences", rounds=1, rows=rows)])

    assert "\n- sequences, all, memory growth 2.2: " in table(2.2)
    assert "Not reached" not in table(2.0)


def test_missed_targets_are_listed_first_and_share_a_reason():
    rows = [
        {"map": "64x64", "terms": terms, "pass": name, "time / dense": ratio}
        for terms, ratio in (("0010", 2e-5), ("1111", 0.9))
        for name in ("forward", "training")
    ]
    table = targets.table([Result.from_rows("attention", rounds=1, rows=rows)])
    verdicts = [line.split(" | ")[-1] for line in table.splitlines() if "≤" in line]
    assert verdicts == ["**no** |", "**no** |", "yes |", "yes |"]
    assert "| 0.00002 |" in table
    assert "1111; forward, time / dense 0.9; training, time / dense 0.9: " in table
    assert table.count("\n- ") == 1


def test_summary_writes_small_ratios_as_fractions():
    rows = [
        {"map": "64x64", "terms": terms, "pass": "forward", "time / dense": ratio, "time / SDPA": 1}
        for terms, ratio in (("0010", 0.001867), ("1111", 0.558))
    ]
    table = summary.table([Result.from_rows("attention", rounds=1, rows=rows)])
    assert "| 0010 | 1/536 | 1.00 |" in table
    assert "| 1111 | 0.56 | 1.00 |" in table


def test_target_may_be_a_lower_bound():
    rows = [{"network": "torch.nn.Transformer", "speed of ours / its own": 0.95}]
    table = targets.table([Result.from_rows("translator", rounds=1, rows=rows)])
    assert table.splitlines()[-1].endswith("| ≥ 0.9 | 0.95 | yes |")


def test_summary_selects_rows_by_map():
    rows = [
        {"map": size, "terms": "0011", "pass": "forward", "time / dense": ratio, "time / SDPA": 0.5}
        for size, ratio in (("96x96", 0.1), ("64x64", 0.25))
    ]
    table = summary.table([Result.from_rows("attention", rounds=1, rows=rows)])
    assert "| 0011 | 0.25 | 0.50 | - | - | - |" in table
    assert "| 1111 | - | - | - | - | - |" in table
    assert summary.table([]) == ""


def test_published_results_have_every_number_of_summary_and_targets():
    """Renaming a column or a row must not silently drop a number from the page."""
    results = performance.published()
    assert "| - |" not in summary.table(results)
    assert [each for each in targets.TARGETS if each.worst(results) is None] == []
