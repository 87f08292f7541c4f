"""A folder of results with given values, without any training."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from quatrain.results import Manifest, ManifestCell, Record, ResultStore

Values = Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]
"""The metrics of each seed, by group and cell; a cell without seeds has one planned run."""


def write_results(
    root: Path, values: Values, costs: Mapping[str, Mapping[str, float]] | None = None, **manifest
) -> ResultStore:
    """Write records and manifest; `costs` by cell, and further fields of the manifest."""
    store, cells = ResultStore(root), []
    for number, ((group, name), by_seed) in enumerate(values.items()):
        identities = {
            seed: hashlib.sha256(f"{group}/{name}/{seed}".encode()).hexdigest()
            for seed in by_seed or (0,)
        }
        default = {"parameters": 1e6 + 1e5 * number, "multiply_adds": 1e8 + 1e7 * number}
        for seed, metrics in by_seed.items():
            record = Record(
                cell=f"{group}/{name}",
                identity=identities[seed],
                seed=seed,
                spec={"kind": "test", "terms": name if set(name) <= {"0", "1"} else "0000@"},
                spec_name="TestSpec",
                metrics=dict(metrics),
                signatures={},
                cost=dict((costs or {}).get(name, default)),
                versions={"torch": "2.14.1"},
                device="cpu",
                threads=1,
                commit="0123abc",
                data={"test": "a" * 64},
                data_notes={},
                artifacts=(),
                steps=100,
                seconds=10.0,
            )
            put_record(store, record)
        cells.append(
            ManifestCell(name=name, group=group, spec_name="TestSpec", identities=identities)
        )
    fields = {"title": "A study", "question": "Which?", "metric": "accuracy", **manifest}
    store.write_manifest(Manifest(cells=tuple(cells), **fields))
    return store


def put_record(store: ResultStore, record: Record) -> None:
    """Write a record in place of the one that a run may have."""
    path = store.folder(record.identity) / "record.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record.to_json(), "utf-8")
