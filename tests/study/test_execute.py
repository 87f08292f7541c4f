from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest

from quatrain.results import CHECKPOINT, Failure, ResultStore, RunState
from quatrain.results.files import SESSIONS
from quatrain.specs import DataError, MissingPackageError, StoredFileError, StudyError
from quatrain.study import load_study
from quatrain.study.execute import (
    Environment,
    ProcessError,
    describe,
    execute_run,
    reason_of,
    text_of,
    write_spec,
)
from quatrain.study.protocol import Description


@pytest.fixture
def run(write_study):
    return load_study(write_study("[cell('a')]", seeds="(3,)")).select()[0]


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "out")


def environment(store, error=None, notes=(), session_seconds=None):
    def train(task, folder, *, seed, device, notify, should_stop):
        notify(SimpleNamespace(
            step=7, steps=9, loss=None, rate=1.0, rate_unit="s", seconds_left=None, text=""
        ))  # fmt: skip
        if error is not None:
            raise error
        return SimpleNamespace(objective=seed, steps=9, seconds=0.1, weights=None, notes=notes,
                               session_seconds=session_seconds)  # fmt: skip

    return Environment(
        store=store, data=None, device="cpu", threads=1, commit="c" * 40, train=train
    )


def execute(run, store, error=None, retry=False):
    events = []
    closing = execute_run(run, environment(store, error), retry=retry, notify=events.append)
    return closing, events


def test_a_run_reports_its_progress_and_ends_in_a_record(run, store):
    closing, events = execute(run, store)
    texts = [event.text for event in events]
    assert (closing.kind, texts) == ("done", ["", "reading data", "", "", "evaluating"])
    assert store.record(run.identity).metrics == {"score": 3.0}
    assert store.record(run.identity).commit == "c" * 40


def test_a_record_has_the_hashes_of_the_code(run, store):
    execute(run, store)
    record = store.record(run.identity)
    assert (record.code, record.spec_code) == (run.code, run.spec_code)
    assert list(record.code) == ["a_study.py"]


def test_a_run_does_not_resume_with_other_code_of_its_specs(run, store):
    before = replace(run, spec_code="2:b")
    stopped(before, store)
    with pytest.raises(StudyError) as info:
        execute(run, store)
    assert info.value.field == "FakeSpec"
    assert store.state(run.identity) is RunState.PAUSED
    assert execute(before, store)[0].kind == "done"


def test_a_record_has_earlier_sessions_with_other_files(run, store):
    stopped(replace(run, code={"a_study.py": "2:a"}), store)
    execute(run, store)
    assert [each.code for each in store.record(run.identity).earlier] == [{"a_study.py": "2:a"}]


@pytest.mark.parametrize("hashes", [{"test": "c" * 64}, None])
def test_a_record_has_the_hashes_of_the_test_data(run, store, monkeypatch, hashes):
    if hashes is not None:
        task = type(run.spec.open(None, store.root, 0))
        monkeypatch.setattr(task, "test_hashes", hashes, raising=False)
    execute(run, store)
    assert store.record(run.identity).test_data == hashes


def test_data_warnings_are_reported_before_training_and_stored(run, store):
    _, events = execute(run, store)
    noted = [(event.kind, event.message) for event in events][2]
    assert noted == ("note", "train: numbers that are odd: 1,200")
    assert store.record(run.identity).data_notes == {"train: numbers that are odd": 1200}


def test_notes_of_a_training_are_reported_and_stored(run, store):
    events = []
    notes = ("the training changed no weight",)
    execute_run(run, environment(store, notes=notes), retry=False, notify=events.append)
    assert notes[0] in [event.message for event in events if event.kind == "note"]
    assert store.record(run.identity).notes == notes


def test_operators_that_are_not_counted_are_noted_in_the_record(run, store, monkeypatch):
    class Counted(int):
        uncounted = {"aten::linalg_inv_ex": 2}  # noqa: RUF012

    task = type(run.spec.open(None, store.root, 0))
    monkeypatch.setattr(task, "cost", lambda *_: {"multiply_adds": Counted(3)})
    execute(run, store)
    record = store.record(run.identity)
    assert record.cost == {"multiply_adds": 3.0}
    (note,) = (note for note in record.data_notes if "aten::linalg_inv_ex" in note)
    assert record.data_notes[note] == 2


def test_a_record_has_the_fingerprint_of_the_task_once_it_is_evaluated(run, store):
    events = []

    def fingerprint(task, device):
        assert (store.files(run.identity) / "answers.txt").exists()
        return float(task.spec.steps), float(len(device))

    with_fingerprint = replace(environment(store), fingerprint=fingerprint)
    execute_run(run, with_fingerprint, retry=False, notify=events.append)
    assert store.record(run.identity).fingerprint == (4.0, 3.0)


def test_an_objective_without_a_fingerprint_fails_no_run(run, store, capsys):
    def fingerprint(task, device):
        raise RuntimeError("eval() is not supported")

    failing = replace(environment(store), fingerprint=fingerprint)
    assert execute_run(run, failing, retry=False, notify=lambda _: None).kind == "done"
    assert store.record(run.identity).fingerprint is None
    log = capsys.readouterr().err
    assert "no fingerprint of one/a, seed 3:" in log
    assert "RuntimeError: eval() is not supported" in log


def stopped(run, store, **elsewhere):
    """A session that left a checkpoint, in a changed environment."""
    train = environment(store, KeyboardInterrupt()).train
    with suppress(KeyboardInterrupt):
        execute_run(
            run,
            replace(environment(store), train=train, **elsewhere),
            retry=False,
            notify=lambda _: None,
        )
    (store.files(run.identity) / CHECKPOINT).touch()


def test_sessions_in_the_same_environment_are_one(run, store):
    stopped(run, store)
    execute(run, store)
    assert store.record(run.identity).earlier == ()


def test_a_record_has_earlier_sessions_in_other_environments(run, store):
    stopped(run, store, commit="d" * 40)
    stopped(run, store, threads=3)
    assert execute(run, store)[0].kind == "done"
    record = store.record(run.identity)
    assert [(each.commit[0], each.threads) for each in record.earlier] == [("d", 1), ("c", 3)]
    assert (record.commit[0], record.threads) == ("c", 1)
    assert not (store.folder(run.identity) / SESSIONS).exists()


def test_a_session_without_a_checkpoint_is_not_recorded(run, store):
    stopped(run, store, commit="d" * 40)
    (store.files(run.identity) / CHECKPOINT).unlink()
    execute(run, store)
    assert store.record(run.identity).earlier == ()


def test_earlier_sessions_of_an_old_checkpoint_are_unknown(run, store):
    stopped(run, store, commit="d" * 40)
    (store.files(run.identity) / SESSIONS).unlink()
    stopped(run, store, threads=3)
    execute(run, store)
    assert store.record(run.identity).earlier is None


def test_damaged_sessions_are_an_error_and_no_failure(run, store):
    stopped(run, store)
    (store.files(run.identity) / SESSIONS).write_text("[{")
    with pytest.raises(StoredFileError):
        execute(run, store)
    assert store.failure(run.identity) is None


def test_a_failure_has_the_traceback_and_the_step(run, store):
    closing, _ = execute(run, store, ValueError("no"))
    failure = store.failure(run.identity)
    assert (closing.kind, closing.message, closing.step) == ("failed", "no", 7)
    assert (failure.reason, failure.step) == ("error", 7)
    assert "raise error" in failure.traceback


def test_a_metric_that_is_not_finite_is_a_failure(run, store):
    closing, _ = execute(run, store)
    (store.folder(run.identity) / "record.json").unlink()
    values = {"steps": 1, "seconds": 0.1, "weights": None, "notes": (), "session_seconds": None}
    result = SimpleNamespace(objective=float("nan"), **values)
    broken = replace(environment(store), train=lambda *_, **__: result)
    closing = execute_run(run, broken, retry=False, notify=lambda _: None)
    assert (closing.kind, store.state(run.identity)) == ("failed", RunState.FAILED)
    assert "a finite number" in store.failure(run.identity).message


@pytest.mark.parametrize(
    "error",
    [
        DataError("the file is empty; add lines", "file"),
        MissingPackageError("sklearn is not installed; run pip install scikit-learn", "sklearn"),
        StoredFileError("the checkpoint is damaged; delete it", "checkpoint"),
        OSError(28, "No space left on device"),
    ],
)
def test_external_errors_are_reported_and_not_stored(run, store, error):
    closing, _ = execute(run, store, error)
    assert (closing.kind, closing.message) == ("failed", str(error))
    assert closing.external is not isinstance(error, StoredFileError)
    assert store.state(run.identity) is not RunState.FAILED
    assert execute(run, store)[0].kind == "done"


def test_a_done_run_is_skipped_and_a_failed_one_is_repeated_on_request(run, store):
    execute(run, store, ValueError("no"))
    assert execute(run, store)[0].kind == "failed"
    assert execute(run, store, retry=True)[0].kind == "done"
    assert execute(run, store)[0].kind == "skipped"
    assert store.failure(run.identity) is None


def test_a_killed_run_resumes_without_a_retry(run, store):
    killed = Failure(reason="killed", message="signal 9", traceback="", step=2)
    store.write_failure(run.identity, killed)
    assert execute(run, store)[0].kind == "done"


def test_a_run_of_another_process_is_not_executed(run, store):
    with store.claim(run.identity):
        assert execute(run, store)[0].kind == "locked"


def test_the_spec_is_stored_and_another_one_is_refused(run, tmp_path):
    write_spec(run, tmp_path)
    write_spec(run, tmp_path)
    path = tmp_path / "spec.json"
    path.write_text(path.read_text().replace('"steps": 4', '"steps": 5'))
    for damage in (None, "{"):
        if damage:
            path.write_text(damage)
        with pytest.raises(StudyError) as error:
            write_spec(run, tmp_path)
        assert error.value.field == str(path)


@pytest.mark.parametrize("content", [b"\xff\xfe{", "{ä".encode("latin-1"), b"\x80"])
def test_a_spec_that_is_no_text_is_refused(run, tmp_path, content):
    path = tmp_path / "spec.json"
    path.write_bytes(content)
    with pytest.raises(StoredFileError):
        write_spec(run, tmp_path)
    assert path.read_bytes() == content


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out of memory"),
        (OutOfMemoryError("CUDA"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (RuntimeError("something else"), "error"),
    ],
)
def test_the_reason_of_a_failure_is_the_class_of_the_exception(error, reason):
    assert reason_of(error) == reason


@pytest.mark.slow
def test_reasons_have_the_names_of_the_classes_of_torch_and_training():
    import torch

    from quatrain.training import NonFiniteLoss

    assert reason_of(NonFiniteLoss("nan")) == "non-finite loss"
    assert reason_of(torch.OutOfMemoryError("full")) == "out of memory"


class Mute(Exception):  # noqa: N818
    def __str__(self):
        raise RuntimeError("no words")


class PanicException(BaseException):
    """Derived as that of libraries in Rust."""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "no"),
        (ValueError(), "ValueError"),
        (ValueError("caf\udce9"), "caf\\udce9"),
        (SystemExit(3), "SystemExit: 3"),
        (PanicException("unwrap"), "PanicException: unwrap"),
        (Mute(), "Mute without a text: RuntimeError in its __str__"),
    ],
)
def test_the_text_of_an_error_can_be_stored(run, store, error, text):
    assert text_of(error) == text
    closing, _ = execute(run, store, error)
    assert (closing.kind, closing.message) == ("failed", text)
    assert store.failure(run.identity).message == text


def test_long_texts_are_shortened(run, store):
    closing, _ = execute(run, store, ValueError("x" * 10**6))
    failure = store.failure(run.identity)
    assert failure.message == closing.message
    assert "characters left out" in failure.message
    assert len(failure.to_json()) < 200_000


def test_an_interrupt_is_no_failure_of_the_run(run, store):
    with pytest.raises(KeyboardInterrupt):
        execute(run, store, KeyboardInterrupt())
    assert store.failure(run.identity) is None


def test_progress_of_wrong_types_is_a_failure(run, store):
    sent = []

    def notify(event):
        sent.append(event.to_line())

    bad = environment(store)
    progress = SimpleNamespace(
        step=1, steps=2, loss=None, rate=1.0, rate_unit=None, seconds_left=None, text=""
    )

    def train(task, folder, *, seed, device, notify, should_stop):
        notify(progress)

    closing = execute_run(run, replace(bad, train=train), retry=False, notify=notify)
    assert (closing.kind, store.state(run.identity)) == ("failed", RunState.FAILED)
    assert "rate_unit" in closing.message
    assert closing.to_line()


@pytest.mark.parametrize(("session", "other"), [(None, 0.0), (6.0, 4.0)])
def test_the_start_of_a_training_is_in_the_other_seconds(run, store, monkeypatch, session, other):
    clock = SimpleNamespace(perf_counter=iter((0.0, 0.0, 10.0, 10.0)).__next__)
    monkeypatch.setattr("quatrain.study.execute.time", clock)
    execute_run(run, environment(store, session_seconds=session), retry=False, notify=str)
    assert store.record(run.identity).other_seconds == other


@pytest.mark.parametrize("is_stored", [True, False])
def test_the_failure_of_a_process_is_that_of_the_run(run, store, is_stored):
    described = Description(
        reason="out of memory", message="too large", traceback="in a batch",
        external=not is_stored, is_stored=is_stored,
    )  # fmt: skip
    closing, _ = execute(run, store, ProcessError(described))
    assert (closing.kind, closing.reason, closing.message, closing.external) == (
        "failed", "out of memory", "too large", not is_stored
    )  # fmt: skip
    failure = Failure(reason="out of memory", message="too large", traceback="in a batch", step=7)
    assert store.failure(run.identity) == (failure if is_stored else None)


@pytest.mark.parametrize(
    ("error", "external", "is_stored"),
    [
        (ValueError("no"), False, True),
        (DataError("no file", "data"), True, False),
        (StoredFileError("damaged", "checkpoint"), False, False),
    ],
)
def test_a_description_says_whether_a_failure_is_stored(error, external, is_stored):
    with pytest.raises(type(error)) as raised:
        raise error
    described = describe(raised.value)
    assert (described.external, described.is_stored) == (external, is_stored)
    assert described.message == str(error)
