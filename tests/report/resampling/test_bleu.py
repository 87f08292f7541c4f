import builtins
import hashlib
import importlib.util

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from fake.results import put_record
from quatrain.report.build import load_report
from quatrain.report.columns import difference_columns
from quatrain.report.document import differences_as_json
from quatrain.report.legend import verdict_legend
from quatrain.report.resampling.bleu import bleu_of, resample_bleu, sentence_statistics
from quatrain.report.runs import load_runs
from quatrain.results.resampling import SEED
from quatrain.specs import DataError, MissingPackageError

WORDS = ["a", "the", "dog", "cat", "man", "runs", "sees", "red", "on", "street", "."]
REFERENCES = [" ".join(np.random.default_rng(n).choice(WORDS, size=5 + n % 9)) for n in range(60)]
TEXT = "".join(f"{line}\n" for line in REFERENCES)
DATA = {"test.de": hashlib.sha256(TEXT.encode()).hexdigest()}
SPEC = {"data": {"kind": "parallel text", "test": "test", "target": "de"}}


def translations(seed, noise):
    draw = np.random.default_rng(seed)
    return [
        " ".join(w if draw.random() > noise else "x" for w in line.split()) for line in REFERENCES
    ]


@pytest.fixture
def bleu_store(store, make_record):
    """The study with hypotheses of 1111 and 0110 for each seed, whose BLEU is in the records."""
    for cell, noise in (("1111", 0.2), ("0110", 0.3)):
        for seed in range(3):
            hypotheses = translations(10 * seed + len(cell.strip("0")), noise)
            metric = BLEU()
            score = metric.corpus_score(hypotheses, [REFERENCES]).score
            signatures = {"bleu": str(metric.get_signature())}
            record = make_record(
                cell, seed, score, signatures=signatures, data=DATA, spec={"terms": cell, **SPEC}
            )
            put_record(store, record)
            path = store.folder(record.identity) / "hypotheses.txt"
            path.write_text("".join(f"{line}\n" for line in hypotheses))
    for cell in ("0010", "1000"):
        for seed in range(3):
            put_record(store, make_record(cell, seed, 30.0 + seed, data=DATA))
    return store


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "test.de").write_text(TEXT)
    return folder


def row_of(store, data=None):
    return load_report(store, data).differences.rows[0]


def test_the_score_of_all_sentences_is_that_of_sacrebleu():
    hypotheses = translations(0, 0.3)
    statistics = sentence_statistics("\n".join(hypotheses), "\n".join(REFERENCES), "13a")
    assert statistics.shape == (60, 10)
    expected = BLEU().corpus_score(hypotheses, [REFERENCES]).score
    assert bleu_of(statistics.sum(0)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("hypotheses", "tokenizer"), [("a\nb", "13a"), ("a\nb\nc", "unknown")], ids=["short", "unknown"]
)
def test_other_lines_or_an_unknown_tokenizer_have_no_statistics(hypotheses, tokenizer):
    assert sentence_statistics(hypotheses, "a\nb\nc", tokenizer) is None


def test_empty_lines_have_statistics():
    statistics = sentence_statistics("\na b c d", "x\na b c d", "13a")
    assert statistics.tolist() == [[0, 1, *[0] * 8], [4, 4, 4, 3, 2, 1, 4, 3, 2, 1]]


def test_the_scores_of_resamples_are_those_of_sacrebleus_paired_bootstrap(
    bleu_store, data, make_record, monkeypatch
):
    monkeypatch.setenv("SACREBLEU_SEED", str(SEED))
    scores = resample_bleu(load_runs(bleu_store).compared_runs(), data)
    identities = [make_record(cell, 0, 1.0).identity for cell in ("0110", "1111")]
    systems = [
        (name, (bleu_store.folder(name) / "hypotheses.txt").read_text().splitlines())
        for name in identities
    ]
    _, results = PairedTest(systems, {"BLEU": BLEU()}, [REFERENCES], test_type="bs")()
    for name, result in zip(identities, results["BLEU"], strict=True):
        ordered = np.sort(scores[name])
        low, high = ordered[25], ordered[975]
        assert result.mean == pytest.approx(scores[name].mean(), abs=1e-6)
        assert result.mean - result.ci < result.score < result.mean + result.ci
        assert result.ci == pytest.approx((high - low) / 2, abs=0.2)


def test_a_difference_has_an_interval_over_the_test_sentences(bleu_store, data):
    report = load_report(bleu_store, data)
    row, *others = report.differences.rows
    low, high = row.over_test_examples.low, row.over_test_examples.high
    assert low < row.answer.estimate.value < high
    assert [other.over_test_examples for other in others] == [None, None]
    (column,) = [
        x for x in difference_columns(report.differences) if x.header == "over test sentences"
    ]
    assert column.texts == (f"[+{low:.2f}, +{high:.2f}]", "–", "–")
    assert "not the variation between seeds" in verdict_legend(report.differences)
    assert "over test sentences [" in report.sentences[0].text
    assert differences_as_json(report.differences)[0]["test_examples_low"] == low
    assert report.all_groups.differences.has_test_noise


def test_without_references_there_is_no_such_interval_and_no_column(bleu_store):
    table = load_report(bleu_store).differences
    assert not table.has_test_noise
    assert "over test sentences" not in [x.header for x in difference_columns(table)]
    assert "Koehn" not in verdict_legend(table)
    assert differences_as_json(table)[0]["test_examples_low"] is None


def test_references_in_the_folders_of_runs_need_no_data(bleu_store, data):
    for record in bleu_store.all_records():
        (bleu_store.folder(record.identity) / "references.txt").write_text(TEXT)
    assert row_of(bleu_store).over_test_examples == row_of(bleu_store, data).over_test_examples


def test_one_seed_without_hypotheses_leaves_no_interval(bleu_store, data, make_record):
    folder = bleu_store.folder(make_record("1111", 2, 0.0).identity)
    (folder / "hypotheses.txt").unlink()
    assert row_of(bleu_store, data).over_test_examples is None


def test_hypotheses_that_do_not_give_the_bleu_of_the_record_are_left_out(
    bleu_store, data, make_record
):
    folder = bleu_store.folder(make_record("1111", 2, 0.0).identity)
    lines = (folder / "hypotheses.txt").read_text().splitlines()
    (folder / "hypotheses.txt").write_text("".join(f"{line}\n" for line in reversed(lines)))
    assert row_of(bleu_store, data).over_test_examples is None


def test_hypotheses_that_are_too_large_are_left_out(bleu_store, data, monkeypatch):
    assert row_of(bleu_store, data).over_test_examples is not None
    monkeypatch.setattr("quatrain.report.resampling.bleu._LARGEST", 10)
    assert row_of(bleu_store, data).over_test_examples is None


def test_a_link_out_of_the_run_is_not_read(bleu_store, data, make_record):
    path = bleu_store.folder(make_record("1111", 2, 0.0).identity) / "hypotheses.txt"
    path.rename(data / "elsewhere.txt")
    path.symlink_to(data / "elsewhere.txt")
    assert row_of(bleu_store, data).over_test_examples is None


def test_other_data_are_refused(bleu_store, data):
    (data / "test.de").write_text(TEXT.replace("dog", "hog"))
    with pytest.raises(DataError, match="give the folder of data of the study") as error:
        row_of(bleu_store, data)
    assert error.value.field == "--data"
    (data / "test.de").unlink()
    with pytest.raises(DataError, match="does not exist"):
        row_of(bleu_store, data)


def test_another_metric_reads_no_hypotheses(bleu_store, tmp_path):
    manifest = bleu_store.manifest().model_copy(update={"compared_in": "chrf"})
    bleu_store.write_manifest(manifest)
    assert row_of(bleu_store, tmp_path / "absent").over_test_examples is None


def test_without_sacrebleu_only_data_are_an_error(bleu_store, data, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert row_of(bleu_store).over_test_examples is None
    with pytest.raises(MissingPackageError, match=r'pip install "quatrain\[translation\]"'):
        row_of(bleu_store, data)


def test_runs_of_other_metrics_do_not_import_sacrebleu(matrix_store, monkeypatch):
    load, imported = builtins.__import__, []

    def note(name, *arguments, **keywords):
        imported.append(name)
        return load(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", note)
    assert load_report(matrix_store).differences.rows == ()
    assert not [name for name in imported if name.startswith("sacrebleu")]
