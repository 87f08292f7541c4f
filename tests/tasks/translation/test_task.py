import json
import shutil
from dataclasses import replace

import pytest
import torch

from closed_forms import translator_by_convention, translator_multiply_adds
from quatrain.cost import count_multiply_adds, training_hours
from quatrain.cost.count import on_meta
from quatrain.models.decoding import DecodingSpec
from quatrain.models.translator import TranslatorSpec
from quatrain.ops.counts import linear
from quatrain.specs import (
    DataError,
    SpecError,
    StoredFileError,
    StudyError,
    canonical,
    identity,
)
from quatrain.study.grid import SelfTraining
from quatrain.tasks.translation import (
    ParallelTextSpec,
    TranslationSpec,
    VocabularySpec,
    load_translator,
)
from quatrain.tasks.translation.task import (
    ALIGNMENT,
    HYPOTHESES,
    REFERENCES,
    VOCABULARY,
    translate,
)
from quatrain.training import train


@pytest.fixture
def folder(text_folder, tmp_path):
    return shutil.copytree(text_folder, tmp_path / "text")


def test_eight_pairs_are_memorized_and_the_hypotheses_written(finished, tmp_path):
    _, task, objective = finished
    evaluation = task.evaluate(objective, tmp_path)
    assert evaluation.metrics["bleu"] > 90
    assert evaluation.metrics["chrf"] > 90
    assert evaluation.metrics["test_loss"] == evaluation.metrics["valid_loss"] < 0.5
    assert "tok:13a" in evaluation.signatures["bleu"]
    assert evaluation.artifacts == (HYPOTHESES, VOCABULARY, ALIGNMENT)
    lines = (tmp_path / HYPOTHESES).read_text().splitlines()
    assert lines == [target for _, target in task.corpus.test]
    assert not (tmp_path / REFERENCES).exists()


def test_the_task_is_trained_by_the_loop_of_the_library(finished):
    _, task, _ = finished
    assert not isinstance(task, SelfTraining)


def test_the_references_of_generated_data_are_written(finished, tmp_path, monkeypatch):
    _, task, objective = finished
    monkeypatch.setattr(task, "corpus", replace(task.corpus, lines=None))
    evaluation = task.evaluate(objective, tmp_path)
    assert evaluation.artifacts == (HYPOTHESES, REFERENCES, VOCABULARY, ALIGNMENT)
    lines = (tmp_path / REFERENCES).read_text().splitlines()
    assert lines == [target for _, target in task.corpus.test]


def test_translations_keep_their_order_for_any_batch_size(finished):
    _, task, objective = finished
    spec = DecodingSpec(beam=3)
    expected = task.translate(objective.translator, task.test.sources, spec)
    assert expected == [target for _, target in task.corpus.test]
    for tokens in (1, 20, 10_000):
        output = translate(objective.translator, task.vocabulary, task.test.sources, spec, tokens)
        assert output == expected
    assert task.translate(objective.translator, [], spec) == []


def test_validation_does_not_change_the_training(text_folder, tiny_spec, tmp_path):
    states = []
    for every in (0, 2):
        run = tmp_path / str(every)
        spec = tiny_spec(steps=4, warmup_steps=1, monitor_every=every)
        states.append(train(spec.open(text_folder, run, 0), run, seed=0).objective.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_gpu_hours_are_about_those_of_the_counted_multiply_adds():
    model, length = TranslatorSpec(width=512, layers=6, feed_forward=2048), 50
    spec = TranslationSpec(model=model, vocabulary=VocabularySpec(size=32_000))
    with on_meta():
        translator = model.build(32_000)
        tokens = torch.zeros(1, length, dtype=torch.long)
    forward = count_multiply_adds(translator, tokens, tokens)
    pairs = spec.recipe.steps * spec.batch_tokens / length
    counted = training_hours(forward * pairs)
    assert 0.85 * counted < spec.gpu_hours() < counted


@pytest.mark.parametrize("terms", ["0110", "1111"])
def test_cost_is_the_closed_form_for_a_pair_of_mean_lengths(
    text_folder, tiny_spec, tmp_path, terms
):
    task = tiny_spec(terms).open(text_folder, tmp_path, 0)
    objective = task.build()
    cost, pair = task.cost(objective), task._mean_pair(rows=1)
    source, target = pair["source"].shape[1], pair["target"].shape[1] - 1
    closed = translator_multiply_adds(objective.translator, source=source, target=target)
    assert cost["multiply_adds"] == cost["multiply_adds_closed_form"] == closed
    by_convention = translator_by_convention(objective.translator, source=source, target=target)
    vocabulary = linear(target, objective.translator.spec.width, objective.translator.vocabulary)
    assert cost["paper_multiply_adds"] == by_convention + vocabulary
    assert cost["parameters"] > 0


def test_the_vocabulary_is_loaded_exactly_if_there_is_a_checkpoint(
    text_folder, tiny_spec, tmp_path
):
    first = tiny_spec().open(text_folder, tmp_path, 0)
    content = (tmp_path / VOCABULARY).read_bytes()
    second = tiny_spec().open(text_folder, tmp_path, 0)
    assert (second.train, (tmp_path / VOCABULARY).read_bytes()) == (first.train, content)
    (tmp_path / VOCABULARY).write_bytes(content[:-20])
    tiny_spec().open(text_folder, tmp_path, 0)
    assert (tmp_path / VOCABULARY).read_bytes() == content
    (tmp_path / VOCABULARY).write_bytes(content[:-20])
    (tmp_path / "checkpoint.safetensors").touch()
    with pytest.raises(StoredFileError) as raised:
        tiny_spec().open(text_folder, tmp_path, 0)
    assert raised.value.field == str(tmp_path / VOCABULARY)


def test_two_equal_opens_share_the_corpus_until_a_file_changes(folder, tiny_spec, tmp_path):
    first = tiny_spec().open(folder, tmp_path / "1", 0)
    assert tiny_spec().open(folder, tmp_path / "2", 1).corpus is first.corpus
    for name in ("train.en", "train.de"):
        with (folder / name).open("a") as file:
            file.write("nine\n")
    later = tiny_spec().open(folder, tmp_path / "3", 0)
    assert later.corpus.train[-1] == ("nine", "nine")
    assert later.data_hashes != first.data_hashes


def test_the_hash_of_the_test_pairs_depends_on_them_only(folder, tiny_spec, tmp_path):
    first = tiny_spec().open(folder, tmp_path / "1", 0)
    for part, same in (("train", True), ("valid", True), ("test", False)):
        for language in ("en", "de"):
            with (folder / f"{part}.{language}").open("a") as file:
                file.write("nine\n")
        later = tiny_spec().open(folder, tmp_path / part, 0)
        assert later.data_hashes != first.data_hashes
        assert (later.test_hashes == first.test_hashes) is same


def test_training_pairs_left_out_are_counted(folder, tiny_spec, tmp_path):
    assert tiny_spec().open(folder, tmp_path, 0).data_notes == {}
    with (folder / "train.en").open("a") as english, (folder / "train.de").open("a") as german:
        english.write("one two three four five six seven eight nine\n")
        german.write("\n")
    spec = tiny_spec().model_copy(update={"data": ParallelTextSpec(drop_empty=True)})
    task = spec.open(folder, tmp_path / "more", 0)
    assert task.data_notes == {"train: pairs, left out": 1}


def test_a_training_pair_longer_than_a_batch_is_refused(text_folder, tiny_spec, tmp_path):
    with pytest.raises(DataError) as raised:
        tiny_spec(batch_tokens=3).open(text_folder, tmp_path, 0)
    assert raised.value.field == "train.de:4"


def test_the_line_of_a_long_pair_counts_lines_that_were_left_out(folder, tiny_spec, tmp_path):
    rows = [f"上{number}" for number in range(8)]
    rows[2], rows[5] = "", "".join(chr(0x4E00 + 37 * n % 5000) for n in range(300))
    (folder / "train.de").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    spec = tiny_spec().model_copy(update={"data": ParallelTextSpec(drop_empty=True, longest=40)})
    with pytest.raises(DataError) as raised:
        spec.open(folder, tmp_path, 0)
    assert raised.value.field == "train.de:6"


@pytest.mark.parametrize(
    ("language", "sentence", "tokenizer"),
    [
        ("zh", "上海是一个大城市。", "zh"),
        ("th", "วันนี้ฉันไปที่นั่น", "char"),
        ("fi", "yksi koira juoksee nyt", "13a"),
    ],
)
def test_the_target_language_determines_the_tokenizer_of_bleu(
    folder, tiny_spec, tmp_path, monkeypatch, language, sentence, tokenizer
):
    for part in ("train", "valid", "test"):
        (folder / f"{part}.{language}").write_text(f"{sentence}\n" * 8, encoding="utf-8")
    spec = tiny_spec(batch_tokens=200)
    spec = spec.model_copy(update={"data": ParallelTextSpec(target=language)})
    task = spec.open(folder, tmp_path, 0)
    monkeypatch.setattr(task, "translate", lambda *_: [sentence] * 8)
    objective = task.build().eval()
    assert task.monitor(objective)["valid_greedy_bleu"] == pytest.approx(100)
    evaluation = task.evaluate(objective, tmp_path)
    assert evaluation.metrics["bleu"] == pytest.approx(100)
    assert f"|tok:{tokenizer}|" in evaluation.signatures["bleu"]
    assert task.data_notes == {}
    chosen = spec.model_copy(update={"bleu_tokenizer": "intl"}).open(folder, tmp_path, 0)
    monkeypatch.setattr(chosen, "translate", lambda *_: [sentence] * 8)
    assert "|tok:intl|" in chosen.evaluate(objective, tmp_path).signatures["bleu"]


def test_a_missing_tokenizer_is_refused_before_training(folder, tiny_spec, tmp_path, monkeypatch):
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_ja_mecab.MeCab", None)
    for part in ("train", "valid", "test"):
        shutil.copy(folder / f"{part}.de", folder / f"{part}.ja")
    spec = tiny_spec().model_copy(update={"data": ParallelTextSpec(target="ja")})
    with pytest.raises(DataError) as raised:
        spec.open(folder, tmp_path, 0)
    assert '"ja-mecab"' in str(raised.value)
    spec.model_copy(update={"bleu_tokenizer": "char"}).open(folder, tmp_path, 0)


def test_references_too_short_for_bleu_are_counted(folder, tiny_spec, tmp_path):
    (folder / "test.de").write_text("ein Hund rennt\n" * 8)
    notes = tiny_spec().open(folder, tmp_path, 0).data_notes
    assert notes == {"test: references, all under four tokens, so BLEU is 0": 8}


def test_the_default_tokenizer_is_not_in_the_identity():
    default, chosen = TranslationSpec(), TranslationSpec(bleu_tokenizer="char")
    assert "bleu_tokenizer" not in canonical(default)
    assert identity(default, 0) != identity(chosen, 0)


def test_a_test_pair_longer_than_a_batch_is_scored(folder, tiny_spec, tmp_path):
    for name in ("test.en", "test.de"):
        (folder / name).write_text("one dog " * 40 + "\n")
    task = tiny_spec().open(folder, tmp_path, 0)
    assert max(map(max, task.test.lengths)) > task.spec.batch_tokens
    assert task.evaluate(task.build().eval(), tmp_path).metrics["test_loss"] > 0


def test_the_example_batch_is_full_of_pairs_of_mean_length(text_folder, tiny_spec, tmp_path):
    task = tiny_spec().open(text_folder, tmp_path, 0)
    mean = sum(map(len, task.test.sources)) / 8
    rows, width = task.example_batch()["source"].shape
    assert width == round(mean)
    longer = max(width, task.example_batch()["target"].shape[1])
    assert rows * longer <= task.spec.batch_tokens < (rows + 1) * longer


@pytest.fixture
def run_folder(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


def test_a_finished_run_translates_lines_in_order(finished, run_folder):
    translator = load_translator(run_folder)
    pairs = finished[1].corpus.test
    lines = [source for source, _ in reversed(pairs)]
    assert translator.translate(lines) == [target for _, target in reversed(pairs)]
    assert translator.translate([]) == []


def test_an_empty_line_has_a_translation(run_folder):
    assert len(load_translator(run_folder).translate(["", "one dog runs"])) == 2


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(StudyError) as raised:
        load_translator(tmp_path)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize("name", ["model.safetensors", "vocabulary.json", "spec.json"])
def test_a_damaged_file_is_refused(run_folder, name):
    (run_folder / name).write_bytes(b"\xff{}")
    with pytest.raises(StoredFileError) as raised:
        load_translator(run_folder)
    assert raised.value.field == str(run_folder / name)


@pytest.mark.parametrize(
    "fields", [{"layers": 10**9}, {"width": 2**40}, {"width": 2**70}, {"feed_forward": 2**40}]
)
def test_a_spec_of_another_size_is_refused_before_a_model_is_built(run_folder, fields):
    spec = json.loads((run_folder / "spec.json").read_text())
    spec["model"].update(fields)
    (run_folder / "spec.json").write_text(json.dumps(spec))
    with pytest.raises((StoredFileError, SpecError)):
        load_translator(run_folder)


def test_an_invalid_spec_is_refused(run_folder):
    (run_folder / "spec.json").write_text("{}{")
    with pytest.raises(SpecError):
        load_translator(run_folder)
