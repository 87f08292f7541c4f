"""The page on performance: what the benchmarks left, set beside what they were to reach."""

import pytest
from benchmarks import glance, performance, plots, targets
from benchmarks.outcome import Outcome

from quatrain.specs import ALL_TERM_SETS


def test_an_outcome_is_read_back_and_set_as_a_table():
    outcome = Outcome.here("mixers", rounds=3, rows=[{"case": "a", "ratio": 0.0912, "ms": 1234.5}])
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert (
        outcome.markdown() == "| case | ratio | ms |\n| --- | ---: | ---: |\n| a | 0.0912 | 1,234 |"
    )
    assert outcome.text().endswith("3 rounds\ncase  ratio   ms\na     0.0912  1,234")


def test_a_ratio_a_quarter_above_the_published_one_is_told_and_a_longer_time_is_not():
    def outcome(ratio, ms, terms="0011", method="separable"):
        rows = [{"terms": terms, "method": method, "time / dense": ratio, "ms": ms}]
        return Outcome.here("attention", rounds=1, rows=rows)

    assert performance.worse(outcome(0.12, 900.0), [outcome(0.1, 1.0)]) == []
    assert performance.worse(outcome(0.13, 1.0), [outcome(0.1, 1.0)]) == [
        "0011: time / dense is 0.13, published 0.1"
    ]
    assert performance.worse(outcome(0.13, 1.0, method="fused"), [outcome(0.1, 1.0)])
    assert performance.worse(outcome(0.1, 1.0, terms="0001"), [outcome(0.1, 1.0)]) == [
        "0001: not published"
    ]


def outcome_of(name="steps", dtype="float32", **row):
    return Outcome.here(name, rounds=1, rows=[{"terms": "0011", **row}], dtype=dtype)


@pytest.mark.parametrize(
    ("column", "published", "allowed", "refused"),
    [
        ("late / early", 1.0, 1.2, 1.3),
        ("memory growth", 2.0, 2.4, 2.6),
        ("speed of ours / its own", 1.66, 1.4, 0.1),
        ("memory / dense", 1e-5, 9e-3, 1.3e-2),
        ("time / dense", 1e-3, 1.2e-3, 9e-3),
    ],
)
def test_each_ratio_is_checked_in_its_own_direction(column, published, allowed, refused):
    before = [outcome_of(**{column: published})]
    assert performance.worse(outcome_of(**{column: allowed}), before) == []
    assert len(performance.worse(outcome_of(**{column: refused}), before)) == 1


def test_ratios_of_other_settings_are_not_compared():
    before = [outcome_of(**{"ms at 10,000": 3.0, "late / early": 6.1})]
    found = performance.worse(outcome_of(**{"ms at 1,000": 1.0, "late / early": 3.0}), before)
    assert found == ["0011: not published"]


def test_what_holds_no_ratio_or_is_of_another_type_of_numbers_counts_as_unchecked():
    before = [outcome_of(**{"time / dense": 0.1}), outcome_of(dtype="bfloat16", ms=1.0)]
    found = performance.worse(outcome_of(dtype="bfloat16", **{"time / dense": 9.0}), before)
    assert found == ["0011: not published"]


def test_the_page_on_performance_is_what_the_outcomes_say():
    outcomes = performance.published()
    assert performance.PAGE.read_text() == performance.page(outcomes)
    for path, drawn in performance.drawings(outcomes).items():
        assert path.read_text() == drawn


def test_what_was_too_small_to_be_measured_is_not_drawn():
    row = {"map": "5x5", "terms": "0010", "pass": "forward", "MiB": 0.0, "memory / dense": 0.0}
    assert ">0010<" in plots.memory_svg([{**row, "MiB": 1.0, "memory / dense": 0.5}])
    assert ">0010<" not in plots.memory_svg([row])


def test_a_plot_names_its_sizes_and_each_term_set_once():
    row = {"terms": "0010", "pass": "forward", "ms": 3.0, "time / dense": 0.5}
    sizes = ("64x64", "50x84", "96x96")
    drawn = plots.time_svg([{**row, "map": name} for name in sizes])
    assert [drawn.count(f">{text}<") for text in ("0010", "4,096", "4,200", "9,216")] == [
        1,
        2,
        0,
        2,
    ]
    assert "mathdefault" not in drawn
    assert "<title>attention-time</title>" in drawn


def test_the_page_names_what_was_not_measured():
    rows = [{"map": "64x64", "terms": str(each), "time / dense": 0.1} for each in ALL_TERM_SETS]
    rows.append({"map": "96x96", "terms": "0011", "time / dense": 0.1})
    outcome = Outcome.here("attention", rounds=1, rows=rows)
    told = performance.page([outcome]).split("## Not measured")[1]
    assert "`python -m benchmarks.mixers`" in told
    assert "attention on 96x96" in told
    assert "anything on a GPU" in told
    assert "attention on 64x64" not in told


def test_the_worst_of_a_target_s_rows_decides():
    rows = [
        {"map": "64x64", "terms": terms, "pass": "forward", "time / dense": ratio}
        for terms, ratio in (("0001", 0.02), ("0011", 0.05), ("1111", 0.9))
    ]
    made = targets.table([Outcome.here("attention", rounds=1, rows=rows)])
    line = next(line for line in made.splitlines() if "0001, 0011; forward" in line)
    assert line.endswith("| time / dense | ≤ 0.04 | 0.05 | **no** |")
    assert "0010" not in made


def test_below_the_targets_stands_why_one_was_missed():
    def told(growth):
        rows = [{"terms": "0000", "memory growth": growth}]
        return targets.table([Outcome.here("sequences", rounds=1, rows=rows)])

    assert told(2.2).endswith(
        "memory growth 2.2: the worst is 0000 both ways, whose peaks are of a few MiB.\n"
    )
    assert "Not reached" not in told(2.0)


def test_at_a_glance_are_the_rows_of_the_tables_below():
    rows = [
        {"map": size, "terms": "0011", "pass": "forward", "time / dense": ratio, "time / SDPA": 0.5}
        for size, ratio in (("96x96", 0.1), ("64x64", 0.25))
    ]
    made = glance.table([Outcome.here("attention", rounds=1, rows=rows)])
    assert "| 0011 | 0.25 | 0.5 | - | - | - |" in made
    assert "| 1111 | - | - | - | - | - |" in made
    assert glance.table([]) == ""


def test_every_number_at_a_glance_is_measured_by_what_is_published():
    assert "| - |" not in glance.table(performance.published())


def test_a_target_may_be_the_least_that_is_wanted():
    rows = [{"network": "torch.nn.Transformer", "speed of ours / its own": 0.95}]
    made = targets.table([Outcome.here("translator", rounds=1, rows=rows)])
    assert made.splitlines()[-1].endswith("| ≥ 0.9 | 0.95 | yes |")


def test_every_target_is_measured_by_what_is_published():
    """So that a renamed column or row does not leave one out without a word."""
    outcomes = performance.published()
    assert [each for each in targets.TARGETS if each.measured(outcomes) is None] == []


def test_maps_and_types_of_numbers_that_no_gpu_has_seen_are_named():
    rows = [{"map": "64x64", "terms": str(each), "time / dense": 0.1} for each in ALL_TERM_SETS]
    on_gpu = Outcome("attention", {"device": "cuda (H)", "dtype": "bfloat16"}, 1, rows)
    told = performance.page([on_gpu]).split("## Not measured")[1]
    assert "attention in bfloat16 on a GPU on 50x84/25x42, 50x84, 96x96, 100x168" in told
    assert "attention in float32 on a GPU on 50x84/25x42, 50x84, 64x64" in told
