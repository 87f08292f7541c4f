"""BLEU of finished runs on resampled test sentences, from their hypotheses and the references.

    runs/1a2b.../hypotheses.txt     one translation per line
    runs/1a2b.../references.txt     one reference per line, for data that are generated
    DATA/test.de                    the references of parallel text, if the SHA-256 is the record's

Runs whose files are missing, or do not give the BLEU of the record, are left out.
"""

import hashlib
import importlib.util
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from quatrain.report.runs import ReportedRun
from quatrain.results.files import is_file_within, read_regular
from quatrain.results.record import Record
from quatrain.results.resampling import Array, resampled_scores
from quatrain.specs import DataError, StoredFileError
from quatrain.specs.extras import missing_package
from quatrain.tasks.text import decode_text, read_bytes, split_lines

METRIC = "bleu"
_LARGEST = 2**26
"""Bytes of the largest file of translations that is read: some million sentences."""
_ROUNDING = 1e-3
"""BLEU is up to 100; versions of sacreBLEU and of Python may differ in the last digits."""


def resample_bleu(runs: Iterable[ReportedRun], data: Path | None = None) -> dict[str, Array]:
    """BLEU of each run on each resample of its test sentences.

    Args:
        runs: runs, finished or not.
        data: the folder of parallel text that the runs read.

    Returns:
        By the run's identity, an array of shape (resamples,).

    Raises:
        DataError: if `data` lacks the file of references, or has another one.
        MissingPackageError: if there is `data`, and sacreBLEU is not installed.
    """
    if importlib.util.find_spec("sacrebleu") is None:
        missing = missing_package("sacrebleu")
        if data is not None and missing is not None:
            raise missing
        return {}
    folders = {run.record.identity: run for run in runs if run.record is not None}
    by_references: dict[tuple[str, str], dict[str, Array]] = {}
    for identity, run in folders.items():
        references = _references(run, data)
        tokenizer = _tokenizer(run.record)
        if references is None or tokenizer is None:
            continue
        statistics = _statistics_of(run, references, tokenizer)
        if statistics is not None:
            by_references.setdefault((references, tokenizer), {})[identity] = statistics
    scores: dict[str, Array] = {}
    for statistics in by_references.values():
        (examples,) = {len(own) for own in statistics.values()}
        own = {identity: partial(_bleu_of_resamples, each) for identity, each in statistics.items()}
        scores |= resampled_scores(own, examples)
    return scores


def _bleu_of_resamples(statistics: Array, times: Array) -> Array:
    return np.array([bleu_of(sums) for sums in times @ statistics])


def bleu_of(sums: Array) -> float:
    """BLEU by sacreBLEU from (hypothesis length, reference length, 4 matches, 4 totals)."""
    from sacrebleu.metrics.bleu import BLEU

    lengths, correct, total = np.split(sums, [2, 6])
    hypothesis, reference = map(int, lengths)
    return BLEU.compute_bleu(
        correct.tolist(), total.tolist(), hypothesis, reference, smooth_method="exp"
    ).score


def _statistics_of(run: ReportedRun, references: str, tokenizer: str) -> Array | None:
    """The statistics of the hypotheses; None if they do not give the BLEU of the record."""
    hypotheses = _read(run.folder / "hypotheses.txt", run.folder)
    if hypotheses is None or run.record is None:
        return None
    statistics = sentence_statistics(hypotheses, references, tokenizer)
    if statistics is None:
        return None
    stored = run.record.metrics[METRIC]
    return statistics if abs(bleu_of(statistics.sum(0)) - stored) <= _ROUNDING else None


@lru_cache(maxsize=512)
def sentence_statistics(hypotheses: str, references: str, tokenizer: str) -> Array | None:
    """The statistics of BLEU of each line, of shape (lines, 10): see `bleu_of`.

    None if the texts differ in their number of lines, or sacreBLEU lacks the tokenizer.
    """
    from sacrebleu.metrics.bleu import BLEU

    lines = hypotheses.split("\n"), references.split("\n")
    if len(lines[0]) != len(lines[1]) or tokenizer not in BLEU.TOKENIZERS:
        return None
    try:
        metric = BLEU(tokenize=tokenizer, force=True)
    except (ImportError, RuntimeError):  # the tokenizer's package is not installed
        return None
    scores = (metric.corpus_score([left], [[right]]) for left, right in zip(*lines, strict=True))
    return np.array([[x.sys_len, x.ref_len, *x.counts, *x.totals] for x in scores], dtype=float)


def _tokenizer(record: Record | None) -> str | None:
    """The tokenizer in the signature of BLEU; None for a record without BLEU."""
    signature = record.signatures.get(METRIC, "") if record else ""
    found = re.search(r"(?:^|\|)tok:([^|]+)", signature)
    if found is None or record is None or METRIC not in record.metrics:
        return None
    return found[1]


def _references(run: ReportedRun, data: Path | None) -> str | None:
    """The references of a run, one per line; None if they are not available."""
    stored = _read(run.folder / "references.txt", run.folder)
    if stored is not None or data is None or run.record is None:
        return stored
    spec = run.record.spec.get("data")
    names = spec if isinstance(spec, Mapping) else {}
    if names.get("kind") != "parallel text":
        return None
    return _references_in(data, f"{names.get('test')}.{names.get('target')}", run.record)


def _references_in(data: Path, name: str, record: Record) -> str:
    content = read_bytes(data / name)
    digest = hashlib.sha256(content).hexdigest()
    if digest != record.data.get(name):
        raise DataError(
            f"{data / name} has SHA-256 {digest[:12]}, but {record.cell} seed {record.seed} was "
            f"tested on {record.data.get(name, 'no such file')[:12]}; give the folder of data of "
            "the study",
            "--data",
        )
    return "\n".join(split_lines(decode_text(content, name)))


def _read(path: Path, folder: Path) -> str | None:
    """The lines of a file in the folder of a run without the last end of line, or None."""
    if not is_file_within(path, folder):
        return None
    try:
        content = read_regular(path, "run the cell again", _LARGEST)
    except StoredFileError:
        return None
    if content is None:
        return None
    return content.decode("utf-8", errors="replace").removesuffix("\n")
