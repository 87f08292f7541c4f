import pytest
import torch
from torch import nn

import quatrain
from quatrain.results import Comparison, ResultStore, RunState
from quatrain.specs import SpecError, StudyError
from quatrain.study import load_study, run_study


def ablate(**changes):
    fields = {
        "build": nn.Identity,
        "train": print,
        "evaluate": print,
        "before": "layer",
        "example": torch.ones(1, 3, 4, 4),
        "mixers": ["0110", "w/o", "0010+deformable"],
        "metric": "accuracy",
    }
    return quatrain.ablate(**fields | changes)


def test_each_mixer_is_a_cell_and_is_compared_with_the_plain_network():
    study = ablate()
    assert [cell.name for cell in study.cells] == ["0110", "w/o", "0010+deformable"]
    assert study.cells[1].spec.mixer is None
    assert [(each.left, each.right) for each in study.comparisons] == [
        ("0110", "w/o"),
        ("0010+deformable", "w/o"),
    ]
    assert study.seeds == (0, 1, 2)


def test_without_a_plain_network_the_first_mixer_is_the_baseline():
    study = ablate(mixers=["0010", "1111"], seeds=[4, 9])
    assert [(each.left, each.right) for each in study.comparisons] == [("1111", "0010")]
    assert study.seeds == (4, 9)


def test_mixers_may_be_specs_with_names():
    wide = quatrain.AttentionSpec(terms="1000", heads=1)
    study = ablate(mixers={"plain": None, "one head": wide})
    assert [(cell.name, cell.spec.mixer) for cell in study.cells] == [
        ("plain", None),
        ("one head", wide),
    ]


def test_further_fields_are_those_of_a_study():
    comparison = Comparison(left="0110", right="w/o", group="network", expect="higher")
    study = ablate(title="Mine", maximum_seeds=9, comparisons=[comparison])
    assert (study.title, study.maximum_seeds) == ("Mine", 9)
    assert study.comparisons == (comparison,)


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"after": "other"}, StudyError, "before, after, at"),
        ({"before": None}, StudyError, "before, after, at"),
        ({"mixers": "0110"}, StudyError, "mixers"),
        ({"mixers": []}, StudyError, "mixers"),
        ({"mixers": [None]}, StudyError, "mixers"),
        ({"mixers": ["0112"]}, SpecError, None),
        ({"mixers": ["w/o", "w/o"]}, StudyError, "mixers"),
        ({"seeds": 0}, StudyError, "seeds"),
        ({"train": None}, StudyError, "train"),
        ({"margin": -1.0}, StudyError, None),
        ({"sedes": 4}, StudyError, None),
        ({"settings": {"loss": nn.Identity()}}, SpecError, None),
    ],
)
def test_wrong_fields_are_refused(change, error, field):
    with pytest.raises(error) as info:
        ablate(**change)
    if field is not None:
        assert info.value.field == field


def test_the_file_is_a_study_for_the_command_line(study_file, tmp_path):
    path = study_file()
    summary = run_study(path, tmp_path / "out", jobs=1)
    assert [event.message for event in summary.failed] == []
    assert len(summary.done) == 6
    record = ResultStore(tmp_path / "out").record(summary.done[0].identity)
    assert set(record.metrics) == {"error", "constant"}
    assert record.spec["settings"] == {"steps": 3}
    assert record.cost["parameters"] == 3 * 4 * 9 + 4 + 4 * 2 + 2
    assert set(record.code) == {"mine.py"}


def test_a_script_and_the_command_line_share_their_runs(study_file, tmp_path):
    path = study_file()
    load_study(path).run(tmp_path / "out")
    summary = run_study(path, tmp_path / "out", jobs=1)
    assert len(summary.skipped) == 6


@pytest.mark.slow
def test_a_changed_function_makes_new_runs_and_is_said(study_file, tmp_path):
    from quatrain.study.changes import notes_on

    run_study(study_file(), tmp_path / "out", jobs=1)
    changed = load_study(study_file(("range(3)", "range(2)")))
    store = ResultStore(tmp_path / "out")
    assert {store.state(run.identity) for run in changed.select()} == {RunState.ABSENT}
    assert any("6 runs finished with other" in note for note in notes_on(changed, store, []))
