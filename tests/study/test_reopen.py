import json

import pytest
import torch

from fake.probes import finish, probe
from quatrain.specs import DataError, StoredFileError, StudyError
from quatrain.study.reopen import reopen


@pytest.fixture
def folder(tmp_path):
    store, study = finish(tmp_path / "out", {("g", "1111"): probe("1111")})
    return store.folder(study.select()[0].identity)


def edit(folder, **fields):
    path = folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_the_reopened_run_has_the_metrics_of_its_record(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with reopen(folder) as run:
        assert not run.objective.training
        assert run.metric == "accuracy"
        with torch.no_grad():
            metrics = run.task.evaluate(run.objective, run.folder).metrics
        assert metrics == pytest.approx(run.record.metrics, abs=1e-6)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_without_a_manifest_has_its_first_metric(folder):
    (folder.parents[1] / "study.json").unlink()
    with reopen(folder) as run:
        assert run.metric == "accuracy"


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"has no record\.json; give the folder"):
        reopen(tmp_path).__enter__()


def test_specs_of_a_study_file_need_it(folder, write_study):
    edit(folder, spec_name="OwnSpec")
    with pytest.raises(StudyError, match="give the file with --study"):
        reopen(folder).__enter__()
    with pytest.raises(StudyError):
        reopen(folder, study=write_study("[cell('a')]")).__enter__()


def test_the_spec_of_another_version_is_refused(folder):
    edit(folder, seed=7)
    with pytest.raises(StudyError, match="another meaning"):
        reopen(folder).__enter__()


def test_other_data_are_refused(folder):
    edit(folder, data={"saliency": "0"})
    with pytest.raises(DataError, match="saliency"):
        reopen(folder).__enter__()


def test_missing_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(StoredFileError):
        reopen(folder).__enter__()
