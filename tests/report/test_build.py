import pytest

from quatrain.report.build import load_report
from quatrain.results import ResultStore
from quatrain.specs import StudyError


def test_contents_are_computed_once(report):
    assert report.table is report.table
    assert report.curves is report.curves
    assert report.all_groups is report


def test_all_groups_include_those_that_were_not_started(store):
    manifest = store.manifest()
    cell = manifest.cells[0].model_copy(update={"group": "new", "identities": {0: "a" * 64}})
    store.write_manifest(manifest.model_copy(update={"cells": (*manifest.cells, cell)}))
    report = load_report(store)
    assert "new" not in {row.group for row in report.table.rows}
    assert "new" in {row.group for row in report.all_groups.table.rows}


def test_folder_without_study_is_rejected(tmp_path):
    with pytest.raises(StudyError) as info:
        load_report(ResultStore(tmp_path / "nothing"))
    assert info.value.field == "study folder"


def test_diagnostics_are_by_group_and_only_of_finished_runs(report, make_report):
    assert list(report.diagnostics) == ["self", "cross"]
    assert report.diagnostics["self"].df == 4
    assert make_report({("g", "a"): {}}).diagnostics == {}
