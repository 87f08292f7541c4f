"""Two small studies on disk, and their reports."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fake.results import put_record
from quatrain.report.build import Report, load_report
from quatrain.report.write import write_report
from quatrain.results import (
    Comparison,
    Expectation,
    Failure,
    Manifest,
    ManifestCell,
    Measurement,
    Record,
    ResultStore,
)

SCORES = {
    ("self", "1111"): (31.0, 31.4, 31.1),
    ("self", "0110"): (29.9, 30.1, 30.2),
    ("self", "0010"): (27.0, 27.9, 27.2),
    ("cross", "1000"): (30.8, 31.5, 31.0),
}


def identity_of(cell: str, seed: int) -> str:
    return hashlib.sha256(f"{cell}/{seed}".encode()).hexdigest()


def record_of(cell: str, seed: int, score: float, **changes: object) -> Record:
    fields = {
        "cell": cell,
        "identity": identity_of(cell, seed),
        "seed": seed,
        "spec": {"terms": cell},
        "spec_name": "TranslationSpec",
        "metrics": {"bleu": score, "chrf": score + 20},
        "signatures": {"bleu": "nrefs:1|case:mixed"},
        "cost": {"parameters": 1.2e6, "multiply_adds": 4e8 + 1e8 * cell.count("1")},
        "versions": {"torch": "2.14.1"},
        "device": "cpu",
        "threads": 1,
        "commit": "0123abc",
        "data": {"train.de": "a" * 64},
        "data_notes": {},
        "artifacts": ("hypotheses.txt",),
        "steps": 300,
        "seconds": 90.0 + seed,
    }
    return Record(**{**fields, **changes})


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    return record_of


def write_study(root: Path) -> ResultStore:
    """Two groups that share a cell, three seeds, one failure, one measurement."""
    store = ResultStore(root)
    for (_, cell), scores in SCORES.items():
        for seed, score in enumerate(scores):
            put_record(store, record_of(cell, seed, score))
            folder = store.folder(identity_of(cell, seed))
            log = [{"step": step, "loss": 6 - step / 100 + seed} for step in (100, 200, 300)]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in log))
            lines = [f"{cell} sagt <b>{number}</b>\n" for number in range(8)]
            (folder / "hypotheses.txt").write_text("".join(lines))
    store.write_measurement(
        identity_of("1111", 0),
        Measurement(
            median_seconds=0.012,
            spread_seconds=0.001,
            rounds=20,
            peak_bytes=10**8,
            device="cpu",
            threads=1,
            versions={"torch": "2.14.1"},
        ),
    )
    store.write_failure(
        identity_of("w/o", 0),
        Failure(
            reason="non-finite loss", message="loss is <nan>", traceback="Traceback ...", step=17
        ),
    )
    store.write_manifest(
        Manifest(
            title="Terms & <translation>",
            question="Which terms does a translator need?",
            metric="bleu",
            cells=tuple(
                ManifestCell(
                    name=cell,
                    group=group,
                    spec_name="TranslationSpec",
                    identities={seed: identity_of(cell, seed) for seed in range(3)},
                )
                for group, cell in [*SCORES, ("self", "w/o"), ("cross", "1111")]
            ),
            comparisons=(
                Comparison(group="self", left="1111", right="0110"),
                Comparison(group="cross", left="1000", right="1111", published=0.25),
                Comparison(group="self", left="0010", right="w/o"),
            ),
        )
    )
    return store


def write_matrix(root: Path) -> ResultStore:
    """Two cells in two groups, one seed: met, not met, without expectation, absent."""
    store = ResultStore(root)
    scores = {("near", "0001"): 99.0, ("near", "0010"): 40.0, ("far", "0001"): 12.0}
    expected = {
        ("near", "0001"): Expectation(low=95, because="it weighs places"),
        ("near", "0010"): Expectation(high=25, because="it sees a bag | <counted>"),
        ("far", "0010"): Expectation(low=95, because="it weighs keys"),
    }
    cells = []
    for group in ("near", "far"):
        for cell in ("0001", "0010"):
            identity = identity_of(f"{group}/{cell}", 0)
            cells.append(
                ManifestCell(
                    name=cell,
                    group=group,
                    spec_name="ProbeSpec",
                    identities={0: identity},
                    expected=expected.get((group, cell)),
                )
            )
            if (group, cell) in scores:
                metrics = {"accuracy": scores[group, cell]}
                changes = {"identity": identity, "metrics": metrics, "spec_name": "ProbeSpec"}
                put_record(store, record_of(cell, 0, 0.0, **changes))
    store.write_manifest(
        Manifest(title="A matrix", question="Which?", metric="accuracy", cells=tuple(cells))
    )
    return store


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> ResultStore:
    """A study that no test changes."""
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def store(shared_store: ResultStore, tmp_path: Path) -> ResultStore:
    """The same study, for a test that changes it."""
    return ResultStore(shutil.copytree(shared_store.root, tmp_path / "study"))


@pytest.fixture(scope="session")
def report(shared_store: ResultStore) -> Report:
    return load_report(shared_store)


@pytest.fixture(scope="session")
def matrix_store(tmp_path_factory: pytest.TempPathFactory) -> ResultStore:
    return write_matrix(tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="session")
def matrix_report(matrix_store: ResultStore) -> Report:
    return load_report(matrix_store)


@pytest.fixture(scope="session")
def files(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the written report."""
    return write_report(report, tmp_path_factory.mktemp("report")).parent


@pytest.fixture
def make_report(tmp_path: Path) -> Callable[..., Report]:
    """Write records with these metrics, by group and cell, then by seed; return their report.

    `spec_of` gives the spec of a cell; further arguments are fields of the manifest. A cell without
    seeds has one planned run.
    """

    def make(values, spec_of=lambda cell: {"terms": cell}, changes=None, **manifest):
        store, cells = ResultStore(tmp_path / "made"), []
        for (group, cell), by_seed in values.items():
            seeds = by_seed or (0,)
            identities = {seed: identity_of(f"{group}/{cell}", seed) for seed in seeds}
            for seed, metrics in by_seed.items():
                fields = {
                    "identity": identities[seed],
                    "metrics": metrics,
                    "spec": spec_of(cell),
                    "signatures": {},
                    **(changes or {}),
                }
                put_record(store, record_of(cell, seed, 0.0, **fields))
            name = "TranslationSpec"
            made = ManifestCell(name=cell, group=group, spec_name=name, identities=identities)
            cells.append(made)
        fields = {"title": "A study", "question": "Which?", "metric": "bleu", **manifest}
        store.write_manifest(Manifest(cells=tuple(cells), **fields))
        return load_report(store)

    return make


@pytest.fixture
def grid_report(make_report: Callable[..., Report]) -> Report:
    """A complete grid of term sets in three seeds, with three comparisons and a margin."""
    noise = (0.03, -0.05, 0.01, 0.04, -0.02, 0.0, 0.05)
    values = {
        ("self", terms): {
            seed: {"bleu": 20.0 + 3 * (terms[2] == "1") + noise[(3 * number + 2 * seed) % 7]}
            for seed in range(3)
        }
        for number, terms in enumerate(format(n, "04b") for n in range(16))
    }
    pairs = (("1111", "0111"), ("1111", "1101"), ("0000", "0010"))
    comparisons = tuple(Comparison(group="self", left=a, right=b) for a, b in pairs)
    return make_report(
        values,
        lambda terms: {"model": {"mixer": {"kind": "attention", "terms": terms}}},
        comparisons=comparisons,
        margin=0.5,
    )


HOSTILE = (
    "a|b", "<script>alert(1)</script>", "$x_1^2$", "50 % & more #1", "~{\\input{x}}",
    "\U0001f600", "\u05d0\u05d1\u05d2", "\u202eevil", "--,,'`\"", "[t] *", "=1+1", "é\u0301",
)  # fmt: skip
"""Names that mean something in Markdown, HTML, LaTeX, CSV or the terminal."""


@pytest.fixture
def hostile_report(make_report: Callable[..., Report]) -> Report:
    """Cells, groups, metrics, title and question with hostile names; one group is incomplete."""
    values = {
        (group, name): {
            seed: {"bleu": 1.0 + number + 0.1 * seed, name: -1.0} for seed in range(1 + number % 3)
        }
        for group in HOSTILE[:3]
        for number, name in enumerate(HOSTILE)
    }
    comparisons = tuple(
        Comparison(group=HOSTILE[0], left=HOSTILE[0], right=name) for name in HOSTILE[1:]
    )
    title = " ".join(HOSTILE)
    return make_report(values, comparisons=comparisons, title=title, question=title, margin=0.5)
