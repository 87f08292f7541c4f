import pytest

from quatrain.results import Failure, ResultStore
from quatrain.specs import StudyError
from quatrain.study import load_study
from quatrain.study.status import last_step, study_status


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "out")


def test_each_run_has_its_state_its_step_and_its_reason(write_study, store):
    study = load_study(write_study("[cell('a'), cell('b', steps=9), cell('c', steps=8)]", "(0,)"))
    failed, paused, absent = study.select()
    store.write_manifest(study.manifest())
    store.write_failure(
        failed.identity, Failure(reason="error", message="no", traceback="...", step=5)
    )
    folder = store.folder(paused.identity)
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").touch()
    (folder / "metrics.jsonl").write_text('{"step": 20}\n{"step": 40}\n{"ste')
    rows = study_status(store)
    assert [(row.cell, row.state, row.step) for row in rows] == [
        ("a", "failed", 5), ("b", "paused", 40), ("c", "absent", None),
    ]  # fmt: skip
    assert (rows[0].reason, rows[0].message) == ("error", "no")
    assert rows[2].identity == absent.identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json\n",
        "[1]\n",
        '{"loss": 1}\n',
        '{"step": "x"}\n',
        '{"step": true}\n',
        '{"step": -1}\n',
        '{"step": 1.5}\n',
        f'{{"step": {10**400}}}\n',
        '{"step": ' + "9" * 5000 + "}\n",
        '{"step": 1, "x": ' + "[" * 30_000 + "]" * 30_000 + "}\n",
        "[" * 100_000 + "\n",
        "\udc80\n",
    ],
)
def test_a_log_without_a_step_says_nothing(store, text):
    folder = store.folder("ab" * 32)
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(text, errors="surrogateescape")
    assert last_step(store, "ab" * 32) is None


def test_the_step_of_a_long_log_is_that_of_its_last_line(store):
    folder = store.folder("ab" * 32)
    folder.mkdir(parents=True)
    lines = (f'{{"step": {step}, "loss": 1.0}}\n' for step in range(10_000))
    (folder / "metrics.jsonl").write_text("".join(lines) + '{"step": 10')
    assert last_step(store, "ab" * 32) == 9_999


def test_a_folder_instead_of_a_log_has_no_step(store):
    (store.folder("ab" * 32) / "metrics.jsonl").mkdir(parents=True)
    assert last_step(store, "ab" * 32) is None


def test_a_folder_without_a_study_is_an_error(store):
    with pytest.raises(StudyError):
        study_status(store)
