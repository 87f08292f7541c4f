import pytest

from quatrain.results import Record
from quatrain.results.snapshot import Snapshot
from quatrain.specs import StoredFileError

IDENTITY = "0123456789abcdef" * 4


@pytest.fixture
def store(tmp_path):
    return Snapshot(tmp_path)


def write(store):
    fields = {name: {} for name in ("spec", "metrics", "signatures", "cost", "versions", "data")}
    record = Record(
        cell="a",
        identity=IDENTITY,
        seed=0,
        spec_name="S",
        device="cpu",
        threads=1,
        commit=None,
        artifacts=(),
        steps=1,
        seconds=1.0,
        **fields,
    )
    store.write_record(record)
    return record


def test_a_record_is_read_once(store):
    record = write(store)
    first = store.record(IDENTITY)
    assert first == record
    assert store.record(IDENTITY) is first


def test_a_missing_record_is_looked_for_again(store):
    assert store.record(IDENTITY) is None
    write(store)
    assert store.record(IDENTITY) is not None


def test_a_damaged_record_is_an_error_each_time(store):
    write(store)
    path = store.folder(IDENTITY) / "record.json"
    text = path.read_text()
    path.write_text(text[:100])
    for _ in range(2):
        with pytest.raises(StoredFileError):
            store.record(IDENTITY)
    path.write_text(text)
    assert store.record(IDENTITY) is not None
