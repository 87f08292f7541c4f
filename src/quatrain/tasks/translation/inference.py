"""Translation of plain text by a finished run.

translator = load_translator(Path("out/runs/0123456789abcdef"))
translator.translate(["Two dogs run."])               # ["Zwei Hunde rennen."]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from quatrain.models.translator import Translator
from quatrain.results.files import read_text
from quatrain.specs import StudyError
from quatrain.tasks.translation.task import (
    VOCABULARY,
    TranslationObjective,
    TranslationSpec,
    translate,
)
from quatrain.tasks.translation.vocabulary import EOS, Vocabulary
from quatrain.training import load_model


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
        raise StudyError("run folder", str(run_folder), "one with a spec.json", "correct the path")
    remedy = "move the run's folder away and train again"
    spec = TranslationSpec.from_json(read_text(path, remedy))
    vocabulary = Vocabulary.load(run_folder / VOCABULARY)
    translator = spec.model.build(vocabulary.size)
    load_model(run_folder, TranslationObjective(translator, spec.label_smoothing))
    return TrainedTranslator(spec, translator.eval(), vocabulary)
