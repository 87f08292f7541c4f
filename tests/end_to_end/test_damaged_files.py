"""Stored files that are half written, empty or of another version: a sentence, nothing lost."""

import json

import pytest
from typer.testing import CliRunner

from quatrain.cli.main import app
from quatrain.results import CHECKPOINT, Failure, Measurement, ResultStore, Session
from quatrain.results.image_scores import IMAGE_SCORES
from quatrain.specs import QuatrainError, StudyError
from quatrain.study import load_study, run_study

COMPARISONS = "(Comparison(left='a', right='b', group='one'),)"
CELLS = "[cell('a'), cell('b', weight=2), cell('c', weight=3), cell('d', weight=4)]"
STUDY_FILES = ["study.json"]
DONE_FILES = ["record.json", "measurement.json", "metrics.jsonl", IMAGE_SCORES, "spec.json"]
FAILED_FILES = ["failure.json"]
PAUSED_FILES = ["sessions.json", CHECKPOINT]
LOOKS = (["study", "status"], ["study", "watch", "--once"], ["report"])


class Results:
    """Two finished runs, a failed and a paused one, with every kind of file."""

    def __init__(self, root, path):
        self.root, self.path = root, path
        self.store, self.runs = ResultStore(root), load_study(path).select()
        fields = {"device": "cpu", "threads": 1, "versions": {}}
        measurement = Measurement(median_seconds=1, spread_seconds=0.1, peak_bytes=7, **fields)
        self.store.write_measurement(self.runs[0].identity, measurement)
        done, failed, paused = (self.folder(number) for number in (0, 2, 3))
        line = json.dumps({"step": 1, "loss": 0.5, "seconds": 1.0})
        (done / "metrics.jsonl").write_text(f"{line}\n" * 3)
        (done / IMAGE_SCORES).write_bytes(b"\x10\0\0\0\0\0\0\0" + 16 * b"{")
        (done / "record.json").touch()
        failure = Failure(reason="error", message="no", traceback="", step=1)
        failed.mkdir(exist_ok=True)
        self.store.write_failure(self.runs[2].identity, failure)
        paused.mkdir(exist_ok=True)
        (paused / CHECKPOINT).write_text("[2, 8]")
        session = Session(commit=None, **fields)
        (paused / "sessions.json").write_text(f"[{session.to_json()}]")

    def folder(self, number):
        return self.store.folder(self.runs[number].identity)

    def file(self, name):
        """The file of this name, which exists."""
        kinds = {0: DONE_FILES, 2: FAILED_FILES, 3: PAUSED_FILES}
        number = next((n for n, names in kinds.items() if name in names), None)
        path = self.root / name if number is None else self.folder(number) / name
        assert path.stat().st_size
        return path

    def call(self, words):
        """The exit status of a command, and the sentence of its error if there is one."""
        arguments = [*words, *([] if "plan" in words else [self.root])]
        try:
            done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        except QuatrainError as error:
            return 2, str(error)
        return done.exit_code, ""

    def run(self, command):
        """The last event of each run after the study is run again, or the sentence of its error."""
        try:
            return run_study(self.path, self.root, jobs=1, command=command).events, ""
        except QuatrainError as error:
            return [], str(error)


@pytest.fixture
def results(write_study, finish):
    path = write_study(CELLS, "(0,)", COMPARISONS)
    return Results(finish(path, ["a", "b"]).root, path)


@pytest.mark.parametrize("cut", [pytest.param("half", marks=pytest.mark.slow), "empty", "noise"])
@pytest.mark.parametrize(
    "name", [*STUDY_FILES, *DONE_FILES, *FAILED_FILES, "sessions.json", "worker-1.log"]
)
def test_a_damaged_file_is_one_sentence_or_no_problem(results, command, name, cut):
    (results.root / "worker-1.log").write_text("from an earlier session\n")
    path = results.file(name)
    content = path.read_bytes()
    path.write_bytes({"half": content[: len(content) // 2], "empty": b"", "noise": b"\xff\0"}[cut])
    kept = {file: file.read_bytes() for file in results.root.rglob("*.json") if file != path}
    for words in (*LOOKS, ["study", "plan", results.path, "--out", results.root]):
        status, sentence = results.call(words)
        assert status in {0, 1, 2}
        assert "\n" not in sentence
        assert sentence == "" or name in sentence
    assert {file: file.read_bytes() for file in kept} == kept
    events, sentence = results.run(command)
    assert "\n" not in sentence
    assert sentence == "" or name in sentence
    assert all("\n" not in event.message for event in events)
    other = results.folder(1) / "record.json"
    assert other.read_bytes() == kept[other]
    path.unlink()
    again, sentence = results.run(command)
    assert sentence == ""
    assert [event.kind for event in again if event.kind not in {"done", "skipped"}] in (
        ["failed"], []
    )  # fmt: skip
    assert results.call(["report"])[0] == 0


@pytest.mark.parametrize("name", ["study.json", "record.json", "measurement.json", "failure.json"])
def test_a_file_of_a_newer_format_is_left_to_the_newer_version(results, name):
    path = results.file(name)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2', 1))
    before = path.read_bytes()
    status, sentence = results.call(["report"])
    assert status == 2
    assert name in sentence
    assert "use the newer quatrain that wrote it" in sentence
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["study.json", "record.json", "measurement.json", "failure.json"])
def test_fields_of_a_newer_version_are_ignored_and_kept(results, command, name):
    path = results.file(name)
    path.write_text(json.dumps({**json.loads(path.read_text()), "invented": [{"later": 1}]}))
    assert [results.call(words)[0] for words in LOOKS] == [1, 1, 0]
    results.run(command)
    assert "invented" in path.read_text()


def test_files_of_an_older_version_are_read(results):
    """Fields with a default did not exist in some older version."""
    store, kinds = results.store, {}
    for run in results.runs:
        kinds |= {f"{type(x).__name__}": x for x in (store.record(run.identity),) if x}
    for model in (*kinds.values(), store.manifest()):
        older = {
            name: value
            for name, value in json.loads(model.to_json()).items()
            if type(model).model_fields[name].is_required()
        }
        name = "record.json" if "identity" in older else "study.json"
        results.file(name)
        path = results.folder(1) / name if name == "record.json" else results.root / name
        path.write_text(json.dumps(older))
    assert [results.call(words)[0] for words in LOOKS] == [1, 1, 0]


def test_a_folder_whose_study_is_unknown_is_an_error(tmp_path):
    for words in LOOKS:
        with pytest.raises(StudyError, match="has no study"):
            CliRunner().invoke(app, [*words, str(tmp_path)], catch_exceptions=False)
