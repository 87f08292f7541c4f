import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quatrain.results import Failure, Manifest, ManifestCell, Measurement, Record, ResultStore
from quatrain.results.store import RunState
from quatrain.specs import MissingPackageError, StoredFileError, StudyError

IDENTITY = "0123456789abcdef" * 4
OTHER = "f" * 64

HOLD = """
import sys, pathlib
from quatrain.results import ResultStore
with ResultStore(pathlib.Path(sys.argv[1])).claim(sys.argv[2]) as attempt:
    print(attempt is not None, flush=True)
    sys.stdin.read()
"""


def record(identity: str = IDENTITY) -> Record:
    return Record(
        cell="1111",
        identity=identity,
        seed=0,
        spec={},
        spec_name="S",
        metrics={"bleu": 1.0},
        signatures={},
        cost={},
        versions={},
        device="cpu",
        threads=1,
        commit=None,
        data={},
        artifacts=(),
        steps=1,
        seconds=1.0,
    )


FAILURE = Failure(reason="killed", message="signal 9", traceback="", step=4)


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "study")


def test_each_file_is_read_back(store):
    measurement = Measurement(
        median_seconds=1,
        spread_seconds=0.1,
        rounds=3,
        peak_bytes=7,
        device="cpu",
        threads=1,
        versions={},
    )
    cell = ManifestCell(name="a", group="g", spec_name="S", identities={0: IDENTITY})
    manifest = Manifest(title="t", question="q", metric="bleu", cells=(cell,))
    store.write_record(record())
    store.write_failure(IDENTITY, FAILURE)
    store.write_measurement(IDENTITY, measurement)
    store.write_manifest(manifest)
    assert store.record(IDENTITY) == record()
    assert store.failure(IDENTITY) == FAILURE
    assert store.measurement(IDENTITY) == measurement
    assert store.manifest() == manifest
    assert store.folder(IDENTITY).name == "0123456789abcdef"


def test_missing_files_are_none(store):
    assert store.record(IDENTITY) is None
    assert store.failure(IDENTITY) is None
    assert store.measurement(IDENTITY) is None
    assert store.all_records() == []


def test_a_folder_without_a_study_is_an_error(store):
    with pytest.raises(StudyError) as error:
        store.manifest()
    assert error.value.field == "study folder"


def test_the_state_follows_from_the_files_and_the_lock(store):
    states = [store.state(IDENTITY)]
    with store.claim(IDENTITY) as attempt:
        states.append(store.state(IDENTITY))
        (attempt.begin() / "checkpoint.safetensors").write_bytes(b"")
    states.append(store.state(IDENTITY))
    store.write_failure(IDENTITY, FAILURE)
    states.append(store.state(IDENTITY))
    store.clear_failure(IDENTITY)
    store.clear_failure(IDENTITY)
    states.append(store.state(IDENTITY))
    store.write_record(record())
    states.append(store.state(IDENTITY))
    assert [state.name for state in states] == [
        "ABSENT",
        "RUNNING",
        "PAUSED",
        "FAILED",
        "PAUSED",
        "DONE",
    ]


def test_a_run_is_claimed_by_one_process_at_a_time(store):
    with store.claim(IDENTITY) as first, store.claim(IDENTITY) as second:
        assert first.run == store.folder(IDENTITY)
        assert second is None
        with store.claim(OTHER) as other:
            assert other is not None
    with store.claim(IDENTITY) as again:
        assert again is not None


def test_the_lock_of_the_manifest_needs_the_extra_that_installs_filelock(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(MissingPackageError) as raised, store.lock_manifest():
        pass
    assert "quatrain[study]" in str(raised.value)


def test_a_claim_ends_with_its_process(store):
    command = [sys.executable, "-c", HOLD, str(store.root), IDENTITY]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "True\n"
        with store.claim(IDENTITY) as mine:
            assert mine is None
        assert store.state(IDENTITY) is RunState.RUNNING
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with store.claim(IDENTITY) as mine:
        assert mine is not None


def test_an_error_inside_a_claim_releases_the_run(store):
    with pytest.raises(ZeroDivisionError), store.claim(IDENTITY):
        raise ZeroDivisionError
    assert store.state(IDENTITY) is RunState.ABSENT


def test_a_claim_in_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "study").write_text("a file")
    with (
        pytest.raises(StudyError),
        ResultStore(tmp_path / "study").claim(IDENTITY),
    ):
        pass


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[]",
        lambda text: text.replace('"seed": 0', '"seed": "many"'),
        lambda text: text.replace('"seed": 0', '"sead": 0'),
        lambda text: text.replace('"format": 1', '"format": 0'),
        lambda text: text.replace('"spec": {}', f'"spec": {"[" * 100_000}'),
        lambda text: text.replace('"steps": 1', f'"steps": {10**400}'),
        lambda text: text.replace('"steps": 1', f'"steps": {"1" * 5000}'),
        lambda text: text.replace('"steps": 1', '"steps": -1'),
        lambda text: text.replace("1.0", "NaN"),
    ],
    ids=[
        "cut",
        "empty",
        "list",
        "type",
        "field",
        "format",
        "deep",
        "long number",
        "longer number",
        "negative",
        "nan",
    ],
)
def test_a_damaged_record_names_the_file_and_the_remedy(store, damage):
    store.write_record(record())
    path = store.folder(IDENTITY) / "record.json"
    path.write_text(damage(path.read_text()))
    for read in (lambda: store.record(IDENTITY), store.all_records):
        with pytest.raises(StoredFileError) as error:
            read()
        assert error.value.field == str(path)
        assert "delete this file" in str(error.value)


def test_the_remedy_for_a_record_of_a_newer_format_is_the_newer_version(store):
    store.write_record(record())
    path = store.folder(IDENTITY) / "record.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(StoredFileError) as error:
        store.record(IDENTITY)
    assert str(error.value).endswith("use the newer quatrain that wrote it")
    assert error.value.field == str(path)


def test_a_record_with_a_field_of_a_newer_version_is_read(store):
    store.write_record(record())
    path = store.folder(IDENTITY) / "record.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 0, "energy_joules": 12.5'))
    assert store.record(IDENTITY).unknown == ("energy_joules",)


def test_bytes_that_are_no_text_are_an_error(store):
    store.write_record(record())
    (store.folder(IDENTITY) / "record.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoredFileError):
        store.record(IDENTITY)


def test_a_record_in_the_folder_of_another_run_is_an_error(store):
    store.write_record(record())
    moved = store.folder(OTHER)
    moved.mkdir()
    (moved / "record.json").write_text(record().to_json())
    for read in (lambda: store.record(OTHER), store.all_records):
        with pytest.raises(StoredFileError) as error:
            read()
        assert f"of run {IDENTITY}" in str(error.value)


def test_all_records_are_read_from_all_folders(store):
    for identity in (OTHER, IDENTITY):
        store.write_record(record(identity))
    store.write_failure("a" * 64, FAILURE)
    assert [record.identity for record in store.all_records()] == [IDENTITY, OTHER]


def test_a_manifest_that_contradicts_itself_is_an_error(store):
    cell = ManifestCell(name="a", group="g", spec_name="S", identities={0: IDENTITY})
    store.write_manifest(Manifest(title="t", question="q", metric="m", cells=(cell,)))
    path = store.root / "study.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "cells": content["cells"] * 2}))
    with pytest.raises(StoredFileError) as error:
        store.manifest()
    assert "finished runs are kept" in str(error.value)
