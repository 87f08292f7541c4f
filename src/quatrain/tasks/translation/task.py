"""The translation task: data, objective, metrics and cost of a run.

    spec = TranslationSpec(data=NumeralsSpec(), model=TranslatorSpec(width=64, layers=2))
    task = spec.open(data=None, folder=Path("run"), seed=0)

    translator = load_translator(Path("out/runs/0123456789abcdef"))     # a finished run
    translator.translate(["Two dogs run."])                             # ["Zwei Hunde rennen."]

Shapes: b sentence pairs, s source tokens, t target tokens.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor, nn

from quatrain.cost import count_multiply_adds, count_parameters, model_cost, training_hours
from quatrain.cost.count import on_meta
from quatrain.models.decoding import DecodingSpec, decode
from quatrain.models.translator import Translator, TranslatorSpec
from quatrain.ops.linear_cross_entropy import linear_cross_entropy
from quatrain.results.files import read_text, write_atomically
from quatrain.specs import Spec, StudyError
from quatrain.tasks.cache import read_cached
from quatrain.tasks.translation.batching import EncodedPairs, pad, token_batches
from quatrain.tasks.translation.metric import (
    BleuTokenizer,
    can_score,
    choose_tokenizer,
    score,
    write_hypotheses,
)
from quatrain.tasks.translation.numerals import NumeralsSpec
from quatrain.tasks.translation.parallel_text import Corpus, Pair, ParallelTextSpec
from quatrain.tasks.translation.pictures import alignment_picture
from quatrain.tasks.translation.vocabulary import (
    BOS,
    EOS,
    PAD,
    Vocabulary,
    VocabularySpec,
    train_vocabulary,
)
from quatrain.training import Evaluation, Loss, Recipe, Task, build_model, checkpoint

ALIGNMENT = "alignment.png"
HYPOTHESES = "hypotheses.txt"
REFERENCES = "references.txt"
VOCABULARY = "vocabulary.json"

TranslationData = Annotated[NumeralsSpec | ParallelTextSpec, Field(discriminator="kind")]


class TranslationSpec(Spec):
    """A translation task: data, vocabulary, model, recipe, decoding."""

    kind: Literal["translation"] = "translation"
    data: TranslationData = NumeralsSpec()
    vocabulary: VocabularySpec = VocabularySpec()
    model: TranslatorSpec = TranslatorSpec()
    recipe: Recipe = Recipe()
    decoding: DecodingSpec = DecodingSpec()
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Probability distributed evenly over the vocabulary in the target distribution."""
    batch_tokens: int = Field(default=4096, ge=1)
    """Tokens of a batch, on its longer side, including padding."""
    bleu_tokenizer: BleuTokenizer = "auto"
    """sacreBLEU's name of a tokenizer; "auto" selects that of the target language, see `metric`."""

    def open(self, data: Path | None, folder: Path, seed: int) -> "TranslationTask":
        """Read the data, and train the vocabulary or load that of the checkpoint.

        Raises:
            DataError: if the data cannot be used, a training pair is longer than a batch, or the
                tokenizer of BLEU cannot be used.
            StoredFileError: if the vocabulary of an interrupted run is damaged.
        """
        corpus, vocabulary = read_cached(_read, data, self.data, self.vocabulary)
        stored = folder / VOCABULARY
        if (folder / checkpoint.NAME).exists():
            vocabulary = Vocabulary.load(stored)
        else:
            vocabulary.save(stored)
        return TranslationTask(self, corpus, vocabulary, seed)

    def gpu_hours(self) -> float:
        """Estimated hours of training on one GPU; see `training_hours`.

        A forward pass has about one multiply-add for each parameter and target token; of pairs of
        50 tokens a side, attention adds a tenth in the paper's model.

        Source: Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, section 2.1.
        """
        model: Any = self.model  # a frozen model is hashable, which its type does not tell
        parameters = _parameters(model, self.vocabulary.size)
        tokens = self.recipe.steps * self.recipe.accumulate * self.batch_tokens
        return training_hours(parameters * tokens)


@functools.cache  # the cells of a study share their models
def _parameters(model: TranslatorSpec, vocabulary: int) -> int:
    with on_meta():
        return count_parameters(model.build(vocabulary))


def _read(
    data: TranslationData, vocabulary: VocabularySpec, folder: Path | None
) -> tuple[Corpus, Vocabulary]:
    corpus = data.read(folder)
    return corpus, train_vocabulary(corpus.train, vocabulary)


class TranslationObjective(nn.Module):
    """Label-smoothed cross entropy of each target token given the previous ones.

    Source: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7.
    """

    def __init__(self, translator: Translator, smoothing: float) -> None:
        super().__init__()
        self.translator = translator
        self.smoothing = smoothing

    def forward(self, source: Int[Tensor, "b s"], target: Int[Tensor, "b t"]) -> Loss:
        """The loss summed over target tokens, and their number."""
        labels = target[:, 1:]
        mask = labels != PAD
        hidden = self.translator.hidden(source, target[:, :-1])[mask]
        total = linear_cross_entropy(
            hidden,
            self.translator.embedding.weight,
            labels[mask],
            self.smoothing if self.training else 0.0,
        )
        return Loss(total, mask.sum())


class TranslationTask(Task):
    """Data, objective and metrics of one run."""

    rate_unit = "target tokens"

    def __init__(
        self, spec: TranslationSpec, corpus: Corpus, vocabulary: Vocabulary, seed: int
    ) -> None:
        self.spec: TranslationSpec = spec
        self.corpus: Corpus = corpus
        self.vocabulary: Vocabulary = vocabulary
        self.seed: int = seed
        self.recipe: Recipe = spec.recipe
        self.data_hashes: dict[str, str] = corpus.hashes
        references = _references(corpus.valid) + _references(corpus.test)
        self.tokenizer: str = choose_tokenizer(spec.bleu_tokenizer, corpus.languages[1], references)
        self.train: EncodedPairs = EncodedPairs.encode(corpus.train, vocabulary, "training")
        self.valid: EncodedPairs = EncodedPairs.encode(corpus.valid, vocabulary, "validation")
        self.test: EncodedPairs = EncodedPairs.encode(corpus.test, vocabulary, "test")
        self.train.check_lengths(spec.batch_tokens, corpus.location)
        text = "\n".join(f"{source}\t{target}" for source, target in corpus.test)
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
        # Equal for cells that differ only in their training pairs.
        self.test_hashes: dict[str, str] = {"test": digest}
        self.data_notes: dict[str, int] = self._notes()

    def _notes(self) -> dict[str, int]:
        """The number of training pairs left out and of references too short for BLEU."""
        notes = {"train: pairs, left out": self.corpus.dropped} if self.corpus.dropped else {}
        for part, pairs in (("validation", self.corpus.valid), ("test", self.corpus.test)):
            if not can_score(_references(pairs), self.tokenizer):
                notes[f"{part}: references, all under four tokens, so BLEU is 0"] = len(pairs)
        return notes

    def build(self) -> TranslationObjective:
        """A new translator with its loss."""
        translator = self.spec.model.build(self.vocabulary.size)
        return TranslationObjective(translator, self.spec.label_smoothing)

    def batches(self, epoch: int) -> list[list[int]]:
        """Indices of the training pairs of each batch of the epoch."""
        budget = self.spec.batch_tokens
        return token_batches(self.train.lengths, budget, seed=self.seed, epoch=epoch)

    def collate(self, plan: Sequence[int]) -> dict[str, Tensor]:
        """One padded training batch."""
        return self.train.collate(plan)

    def monitor(self, objective: TranslationObjective) -> dict[str, float]:
        """Loss, and BLEU of greedy decoding, on the validation part."""
        greedy = self.spec.decoding.model_copy(update={"beam": 1})
        hypotheses = self.translate(objective.translator, self.valid.sources, greedy)
        references = _references(self.corpus.valid)
        return {
            "valid_loss": self._loss(objective, self.valid),
            "valid_greedy_bleu": score(hypotheses, references, self.tokenizer).bleu,
        }

    def evaluate(self, objective: TranslationObjective, folder: Path) -> Evaluation:
        """BLEU and chrF of the test part by beam search.

        Writes the hypotheses, the references if the data are generated, and the alignment of the
        first sentence.
        """
        hypotheses = self.translate(objective.translator, self.test.sources, self.spec.decoding)
        references = _references(self.corpus.test)
        write_hypotheses(folder / HYPOTHESES, hypotheses)
        artifacts = (HYPOTHESES, VOCABULARY, ALIGNMENT)
        if self.corpus.lines is None:
            write_hypotheses(folder / REFERENCES, references)
            artifacts = (HYPOTHESES, REFERENCES, VOCABULARY, ALIGNMENT)
        sentence = self.test.sources[0], hypotheses[0]
        picture = alignment_picture(objective.translator, self.vocabulary, *sentence)
        write_atomically(folder / ALIGNMENT, picture)
        scores = score(hypotheses, references, self.tokenizer)
        metrics = {
            "bleu": scores.bleu,
            "chrf": scores.chrf,
            "test_loss": self._loss(objective, self.test),
            "valid_loss": self._loss(objective, self.valid),
        }
        return Evaluation(metrics, scores.signatures, artifacts)

    def translate(
        self, translator: Translator, sources: Sequence[Sequence[int]], decoding: DecodingSpec
    ) -> list[str]:
        """Translate encoded sources; see the function `translate`."""
        return translate(translator, self.vocabulary, sources, decoding, self.spec.batch_tokens)

    def cost(self, objective: TranslationObjective) -> dict[str, float]:
        """Parameters, and multiply-adds of one sentence pair of mean length."""
        translator = objective.translator
        batch = self._mean_pair(rows=1)
        source, target = batch["source"], batch["target"][:, :-1]
        device = translator.embedding.weight.device
        counted = count_multiply_adds(translator, source.to(device), target.to(device))
        return model_cost(translator, counted)

    def example_batch(self) -> dict[str, Tensor]:
        """A full training batch of pairs of the test part's mean lengths."""
        width = max(value.shape[1] for value in self._mean_pair(rows=1).values())
        return self._mean_pair(rows=max(self.spec.batch_tokens // width, 1))

    def _mean_pair(self, rows: int) -> dict[str, Tensor]:
        source = round(sum(map(len, self.test.sources)) / len(self.test.sources))
        target = round(sum(map(len, self.test.targets)) / len(self.test.targets))
        return {
            "source": torch.full((rows, source), EOS),
            "target": torch.full((rows, target), EOS),
        }

    @torch.no_grad()
    def _loss(self, objective: TranslationObjective, part: EncodedPairs) -> float:
        """Cross entropy per target token, without smoothing, in nats."""
        device = objective.translator.embedding.weight.device
        total = weight = 0.0
        # Pairs of the validation and test parts are scored, however long.
        budget = max(self.spec.batch_tokens, *map(max, part.lengths))
        for indices in token_batches(part.lengths, budget, seed=0, epoch=0):
            batch = {name: value.to(device) for name, value in part.collate(indices).items()}
            loss = objective(**batch)
            total, weight = total + float(loss.total), weight + float(loss.weight)
        return total / weight


def translate(
    translator: Translator,
    vocabulary: Vocabulary,
    sources: Sequence[Sequence[int]],
    decoding: DecodingSpec,
    batch_tokens: int,
) -> list[str]:
    """Translate encoded sources, batched by length; translations keep the order of the sources."""
    device = translator.embedding.weight.device
    lengths = [(len(source), len(source)) for source in sources]
    hypotheses = [""] * len(sources)
    budget = max(batch_tokens // decoding.beam, max(map(len, sources), default=0))
    for indices in token_batches(lengths, budget, seed=0, epoch=0):
        source = pad([sources[index] for index in indices]).to(device)
        outputs = decode(translator, source, decoding, BOS, EOS)
        for index, ids in zip(indices, outputs, strict=True):
            hypotheses[index] = vocabulary.decode(ids)
    return hypotheses


@dataclass(frozen=True)
class TrainedTranslator:
    """A trained translator with its vocabulary and its spec."""

    spec: TranslationSpec
    translator: Translator
    vocabulary: Vocabulary

    def translate(self, lines: Sequence[str]) -> list[str]:
        """Translate each line, with the decoding of the spec."""
        sources = [[*ids, EOS] for ids in self.vocabulary.encode_batch(lines)]
        return translate(
            self.translator, self.vocabulary, sources, self.spec.decoding, self.spec.batch_tokens
        )


def load_translator(run_folder: Path) -> TrainedTranslator:
    """Read a finished run: spec.json, vocabulary.json and model.safetensors.

    Raises:
        StudyError: if the folder does not contain a run.
        SpecError: if it is not a run of a translation task.
        StoredFileError: if a file is missing or damaged.
    """
    path = run_folder / "spec.json"
    if not path.is_file():
        raise StudyError(f"{run_folder} has no spec.json; correct the path", "run folder")
    text = read_text(path, "move the run's folder away and train again")
    spec = TranslationSpec.from_json(text)
    vocabulary = Vocabulary.load(run_folder / VOCABULARY)

    def build() -> TranslationObjective:
        return TranslationObjective(spec.model.build(vocabulary.size), spec.label_smoothing)

    objective = build_model(run_folder, build)
    return TrainedTranslator(spec, objective.translator.eval(), vocabulary)


def _references(pairs: Sequence[Pair]) -> list[str]:
    return [target for _, target in pairs]
