import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from quatrain.nn.mixers import parse_mixer
from quatrain.paper.findings import FINDINGS
from quatrain.report.findings import FindingResult, StatementResult, conclusion_of
from quatrain.report.findings_page import (
    BOX_AP,
    PlannedStudy,
    finding_columns,
    findings_page,
    precision_columns,
    summary_columns,
)
from quatrain.report.levels import Progress
from quatrain.report.scale import Scale
from quatrain.results.answers import Answer
from quatrain.results.fit import estimate

MEANS = {"w/o": 20.0, "0010": 22.0, "0010+deformable": 25.0, "1111+deformable": 25.0}
COMPLETE = Progress(3, 3)
PLANNED = PlannedStudy(
    file="studies/large.py",
    title="A large study",
    scale=Scale("ResNet-50", "large images", "many steps", "ImageNet"),
    runs=1234,
    seeds=1,
    gpu_hours=5678.4,
)


def headings(page):
    return re.findall(r"^#+ (.*)$", page, re.MULTILINE)


def texts(columns):
    return {column.header: column.texts for column in columns}


def detection(mixer):
    found = parse_mixer(mixer)
    written = None if found is None else found.model_dump(mode="json")
    return {
        "kind": "detection",
        "model": {"backbone": {"depth": 18, "width": 32, "weights": None, "mixer": written}},
        "augmentation": {"shorter": 320, "longer": 320},
        "recipe": {"steps": 2000, "accumulate": 1},
        "batch": 4,
    }


@pytest.fixture
def detector(make_report):
    """A study of a detector, in which E3 helps and deformable convolution needs no other terms."""
    generator = np.random.default_rng(0)
    values = {
        ("grid", mixer): {seed: {"ap": mean + generator.normal(scale=0.05)} for seed in range(4)}
        for mixer, mean in MEANS.items()
    }
    return make_report(values, detection, metric="ap", title="A detector")


def result(number, place, group, conclusions, answers=None, progress=COMPLETE):
    """A finding at a place whose statements have these conclusions."""
    finding = FINDINGS[number - 1]
    found = answers or [Answer(estimate(1.0, 0.2, 8, 0.5), 0.01, 1.0, "higher", None)] * 9
    claims = [
        StatementResult(statement, each, conclusion, progress)
        for statement, conclusion, each in zip(finding.at(place), conclusions, found, strict=False)
    ]
    return FindingResult(finding, place, group, "bleu", 0.5, tuple(claims), ())


def test_the_page_begins_with_the_conclusions_of_all_studies(detector):
    page = findings_page({"aquarium": detector})
    title, _, header = page.splitlines()[:3]
    assert title == "# The paper's findings in our records"
    assert header == (
        "| finding | self-attention | encoder-decoder attention | detection | segmentation |"
    )
    rows = re.findall(r"^\| (\d)\\?\. [^|]*\| (.*) \|$", page, re.MULTILINE)
    assert [number for number, _ in rows] == list("1234567")
    assert rows[2][1] == "no runs | – | ✓ holds (aquarium: 1 of 2 statements) | no runs"
    assert rows[1][1] == "– | no runs | – | –"


def test_conclusions_that_differ_within_a_study_name_their_groups():
    results = [
        ("a", result(3, "self-attention", "self", ["holds", "holds"])),
        ("a", result(3, "self-attention", "other", ["inconclusive", "inconclusive"])),
        ("b", result(3, "self-attention", "self", ["holds", "holds"])),
        ("c", result(3, "self-attention", "self", ["holds", "does not hold"])),
    ]
    summary = texts(summary_columns(results))["self-attention"][2]
    assert summary == "✓ holds (a self, b); ◐ holds in part (c); ? inconclusive (a other)"


def test_groups_of_a_study_that_agree_are_one_entry():
    results = [("a", result(3, "self-attention", g, ["holds", "holds"])) for g in ("x", "y")]
    assert texts(summary_columns(results))["self-attention"][2] == "✓ holds (a)"


def test_studies_whose_statements_lack_runs_have_the_number_of_those_judged():
    whole = result(3, "self-attention", "self", ["holds", "holds"])
    part = replace(whole, statements=whole.statements[:1], missing=FINDINGS[2].statements[1:2])
    summary = texts(summary_columns([("a", part), ("b", whole)]))["self-attention"][2]
    assert summary == "✓ holds (a: 1 of 2 statements, b)"
    both = [("a", replace(part, group="other")), ("a", whole)]
    summary = texts(summary_columns(both))["self-attention"][2]
    assert summary == "✓ holds (a other: 1 of 2 statements, a self)"


def test_the_p_value_is_that_of_the_verdict_or_of_the_expected_one_if_inconclusive():
    higher = Answer(estimate(3.0, 0.2, 8, 0.5), 0.001, 1.0, "higher", None)
    within = Answer(estimate(0.0, 0.1, 8, 0.5), 0.9, 0.002, "equivalent", None)
    unsettled = Answer(estimate(0.3, 0.2, 8, 0.5), 0.4, 0.3, "inconclusive", 9)

    def p_values(conclusion, answer):
        """Of a statement that expects equivalence, and of one that expects a difference."""
        found = result(3, "detection", "grid", [conclusion] * 2, [answer] * 2)
        return texts(finding_columns([("a", found)]))["adjusted p"]

    assert p_values("does not hold", higher) == ("0.001", "0.001")
    assert p_values("does not hold", within) == ("0.002", "0.002")
    assert p_values("inconclusive", higher) == ("1.000", "0.001")
    assert p_values("inconclusive", unsettled) == ("0.300", "0.400")


@pytest.mark.parametrize("expected", ["equivalent", "higher"])
def test_the_conclusions_that_the_page_explains_are_those_of_the_code(expected):
    """A significant difference contradicts an equivalence only outside the margin."""
    statement = next(s for f in FINDINGS for s in f.statements if s.expected == expected)
    within = Answer(estimate(-0.6, 0.1, 8, 0.5), 0.001, 1.0, "lower", None)
    outside = Answer(estimate(-3.0, 0.1, 8, 0.5), 0.001, 1.0, "lower", None)
    found = [conclusion_of(statement, answer, 0.5) for answer in (within, outside)]
    first = "inconclusive" if expected == "equivalent" else "does not hold"
    assert found == [first, "does not hold"]
    assert "its interval lies outside the margin" in findings_page({})


def test_published_box_ap_next_to_ap50_is_explained():
    ap, ap50 = (
        replace(result(3, "detection", "grid", ["holds", "holds"]), metric=metric)
        for metric in ("ap", "ap50")
    )
    unpublished = replace(result(6, "detection", "grid", ["holds"]), metric="ap50")

    def page(*found):
        report = SimpleNamespace(
            findings=found,
            full_study=SimpleNamespace(all_records=list, runs=()),
            groups=SimpleNamespace(specs=lambda _: {"a": {}}),
            table=SimpleNamespace(rows=(), title="t", notes=()),
        )
        return findings_page({"a": report})

    assert BOX_AP in page(ap, ap50)
    assert BOX_AP not in page(ap, unpublished)


def test_values_of_mmdetection_have_a_column_where_there_are_some():
    detected = finding_columns([("a", result(3, "detection", "grid", ["holds", "holds"]))])
    assert texts(detected)["mmdetection's"] == ("–", "+1.70")
    assert texts(detected)["the paper's"] == ("+0.00", "+1.70")
    others = finding_columns([("a", result(3, "segmentation", "grid", ["holds", "holds"]))])
    assert "mmdetection's" not in texts(others)


def test_mmdetection_is_explained_where_it_has_a_value(detector):
    assert "mmdetection's: the same contrast" in findings_page({"a": detector})
    assert "mmdetection" not in findings_page({})


def test_precision_is_that_of_all_statements_of_a_group():
    inexact = Answer(estimate(0.1, 2.0, 8, 0.5), 1.0, 1.0, "inconclusive", None)
    soon = replace(inexact, further_seeds=12)
    later = replace(inexact, further_seeds=40)
    narrow = Answer(estimate(3.0, 0.2, 8, 0.5), 0.001, 1.0, "higher", None)
    no_interval = Answer(estimate(1.0, None, 0, 0.5), None, None, "inconclusive", None)
    open_three = ["inconclusive"] * 3
    first = result(1, "detection", "grid", open_three, [soon, later, inexact], Progress(2, 3))
    second = result(3, "detection", "grid", ["inconclusive", "holds"], [no_interval, narrow])
    columns = texts(precision_columns([("a", first), ("a", second)]))
    assert columns == {
        "study, group": ("a, grid",),
        "metric": ("BLEU",),
        "seeds": ("2 to 3 of 3",),
        "half-width": ("0.46 to 4.61",),
        "margin": ("0.5",),
        "settled": ("1 of 5",),
        "more seeds for the others": ("12 to 40 for 2, over 100 for 1, unknown for 1",),
    }


def test_settled_groups_and_groups_without_intervals_say_so():
    no_interval = Answer(estimate(1.0, None, 0, 0.5), None, None, "inconclusive", None)
    single = result(5, "detection", "x", ["inconclusive"], [no_interval], Progress(1, 3))
    settled = result(5, "detection", "y", ["holds"])
    columns = texts(precision_columns([("a", single), ("a", settled)]))
    assert columns["half-width"] == ("no interval", "0.46")
    assert columns["seeds"] == ("1 of 3", "3 of 3")
    assert columns["more seeds for the others"] == ("unknown for 1", "–")


def test_seeds_are_unknown_for_an_expected_equivalence_not_estimated_within_the_margin():
    outside = Answer(estimate(0.77, 0.5, 8, 0.5), 1.0, 1.0, "inconclusive", 17)
    within = Answer(estimate(0.2, 0.5, 8, 0.5), 1.0, 1.0, "inconclusive", 20)

    def seeds(*answers):
        """More seeds of statements that expect equivalence, then a difference."""
        found = result(3, "detection", "grid", ["inconclusive"] * 2, answers)
        return texts(precision_columns([("a", found)]))["more seeds for the others"]

    assert seeds(outside, outside) == ("17 for 1, unknown for 1",)
    assert seeds(within, outside) == ("17 to 20 for 2",)
    assert seeds(replace(outside, further_seeds=None), outside) == ("17 for 1, unknown for 1",)


def test_the_scale_of_a_study_is_read_from_its_records(detector):
    page = findings_page({"aquarium": detector})
    assert (
        "| aquarium | 16 of 16 | ResNet-18 of width 32 | images of at most 320 x 320 pixels | "
        "2,000 steps of at most 4 images | random |" in page
    )


def test_planned_studies_have_their_hours_and_the_assumed_speed(detector):
    page = findings_page({"aquarium": detector}, [PLANNED], "one multiply-add a second")
    assert "arithmetic at one multiply-add a second" in page
    row = "ResNet-50 | large images | many steps | ImageNet | 1 | 5,678 |"
    assert f"| A large study (studies/large.py) | 1,234 | {row}" in page
    assert " --planned studies/large.py`" in page
    unknown = findings_page({"aquarium": detector}, [replace(PLANNED, gpu_hours=None)], "x")
    assert row.replace("5,678", "–") in unknown
    assert "Planned studies at full scale" not in headings(findings_page({"aquarium": detector}))


def test_a_study_with_several_counted_cells_has_its_figure(detector, make_report):
    figure = "![AP against multiply-adds: A detector](results/aquarium/report/accuracy_cost.svg)"
    assert figure in findings_page({"aquarium": detector})
    few = dict(list(MEANS.items())[:2])
    values = {("grid", m): {s: {"ap": x + s} for s in range(2)} for m, x in few.items()}
    small = findings_page({"small": make_report(values, detection, metric="ap")})
    assert "accuracy_cost.svg" not in small
    assert "Accuracy against executed multiply-adds" not in headings(small)


def test_studies_of_other_questions_are_links_without_notes(detector, report):
    page = findings_page({"aquarium": detector, "terms": report})
    own, others = page[page.index("## Studies") :].split("Studies of other questions:")
    assert "- [A detector](results/aquarium/report/report.md), `aquarium`" in own
    assert "- [Terms & &lt;translation>](results/terms/report/report.md), `terms`" in others
    assert report.table.notes[0].text not in page


def test_findings_of_no_study_are_a_page():
    found = headings(findings_page({}))
    assert found[0] == "The paper's findings in our records"
    assert len(found) == 1 + len(FINDINGS) + 1
