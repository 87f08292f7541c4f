from pathlib import Path

import pytest

from quatrain.report import methods
from quatrain.report.build import load_report
from quatrain.report.methods import methods_of, references_of
from quatrain.report.references import known_entries
from quatrain.results import Comparison, ResultStore

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def keys_of(report):
    return set(references_of(methods_of(report)))


def text_of(report):
    return " ".join(method.text for method in methods_of(report))


def two_cells(seeds=3, spread=(0.1, 0.3, -0.2)):
    return {
        ("g", cell): {s: {"bleu": mean + sign * spread[s]} for s in range(seeds)}
        for cell, mean, sign in (("a", 10.0, 1), ("b", 12.0, -1))
    }


COMPARISON = (Comparison(group="g", left="a", right="b"),)
POOLED = {"montgomery2017design", "brown1974robust"}
WELCH = {"welch1947generalization", "satterthwaite1946approximate"}


def test_a_study_without_finished_runs_uses_no_method(make_report):
    report = make_report({("g", "a"): {}, ("g", "b"): {}}, comparisons=COMPARISON)
    assert methods_of(report) == []


def test_one_seed_has_no_interval_and_no_method_of_one(make_report):
    report = make_report(two_cells(1), comparisons=COMPARISON)
    assert keys_of(report) == set()


def test_least_squares_and_the_test_of_variances_are_cited(make_report):
    assert keys_of(make_report(two_cells())) == POOLED
    report = make_report(two_cells())
    for part in ("cover the variation between seeds", "do not cover", "Assumptions:", "p by group"):
        assert part in text_of(report)


def test_tests_are_cited_only_if_they_are_made(make_report):
    report = make_report(two_cells(), comparisons=COMPARISON)
    assert keys_of(report) == POOLED | WELCH | {"shaffer1986modified"}
    report = make_report(two_cells(), comparisons=COMPARISON, margin=0.5)
    assert "schuirmann1987comparison" in keys_of(report)
    assert "margin of 0.5 BLEU, declared before" in text_of(report)


def test_seeds_that_were_added_are_said_and_cited(make_report):
    report = make_report(two_cells(), comparisons=COMPARISON, looks=(2,))
    assert "kim1987design" in keys_of(report)
    assert "level of 2.5 %" in text_of(report)


def test_separate_variances_replace_the_pooled_fit(make_report):
    report = make_report(two_cells(), comparisons=COMPARISON, variance="separate")
    assert keys_of(report) >= WELCH
    assert "montgomery2017design" not in keys_of(report)


MIXERS = {
    "attention": ({"kind": "attention", "terms": "1111"}, {"zhu2019empirical"}),
    "deformable": ({"kind": "deformable"}, {"dai2017deformable"}),
    "modulated": ({"kind": "deformable", "modulated": True}, {"zhu2019deformable"}),
    "dynamic": ({"kind": "dynamic", "kernel": 7}, {"wu2019pay"}),
    "lightweight": ({"kind": "lightweight", "kernel": 7}, {"wu2019pay"}),
    "deformable-attention": ({"kind": "deformable-attention"}, {"zhu2021deformable"}),
    "dcnv3": ({"kind": "dcnv3"}, {"wang2023internimage"}),
    "dcnv4": ({"kind": "dcnv4"}, {"xiong2024efficient"}),
    "regular": ({"kind": "regular", "kernel": 3}, set()),
    "attended": (
        {
            "kind": "attended",
            "attention": {"kind": "attention", "terms": "0010"},
            "convolution": {"kind": "deformable"},
        },
        {"zhu2019empirical", "dai2017deformable"},
    ),
}


@pytest.mark.parametrize("name", MIXERS)
def test_the_source_of_each_mixer_is_cited(make_report, name):
    mixer, expected = MIXERS[name]
    report = make_report({("g", "a"): {0: {"bleu": 1.0}}}, lambda _: {"model": {"mixer": mixer}})
    assert keys_of(report) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"signatures": {"bleu": "x"}}, {"papineni2002bleu", "post2018call"}),
        ({"signatures": {"own": "x"}}, set()),
        ({"spec": {"data": {"kind": "cityscapes"}}}, {"cordts2016cityscapes"}),
        ({"spec": {"data": {"kind": ["odd"]}}}, set()),
        ({"data": {"test.de": next(iter(methods._FILES_OF_DATA))}}, {"elliott2016multi30k"}),
    ],
)
def test_metrics_and_data_are_cited_where_they_are_known(make_report, changes, expected):
    report = make_report({("g", "a"): {0: {"bleu": 1.0}}}, changes=changes)
    assert keys_of(report) == expected


def test_effects_and_shapley_shares_are_cited(grid_report):
    assert keys_of(grid_report) >= {"shapley1953value", "kim2025factors", "zhu2019empirical"}


@pytest.mark.parametrize(
    "folder", sorted(RESULTS.glob("*/study.json")), ids=lambda p: p.parent.name
)
def test_methods_of_published_studies_have_entries(folder):
    keys = keys_of(load_report(ResultStore(folder.parent)))
    assert "zhu2019empirical" in keys
    assert keys <= known_entries().keys()


def test_all_keys_of_the_module_have_entries():
    tables = (methods._MIXERS, methods._KINDS_OF_DATA, methods._FILES_OF_DATA)
    keys = {key for table in tables for each in table.values() for key in each.references}
    keys |= {key for each in methods._METRICS.values() for key in each}
    assert keys <= known_entries().keys()
