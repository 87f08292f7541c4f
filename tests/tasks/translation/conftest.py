"""Eight sentence pairs that a tiny translator memorizes in seconds."""

import pytest
import torch

from quatrain.models.decoding import DecodingSpec
from quatrain.models.translator import TranslatorSpec
from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.tasks.translation import ParallelTextSpec, TranslationSpec, VocabularySpec
from quatrain.training import Polynomial, Recipe, train

PAIRS = {
    "one dog runs": "ein Hund rennt",
    "two dogs sleep in the park": "zwei Hunde schlafen im Park",
    "a man is cooking": "ein Mann kocht",
    "three children play football": "drei Kinder spielen Fussball",
    "the woman reads a book": "die Frau liest ein Buch",
    "a red car stands still": "ein rotes Auto steht still",
    "people walk over the bridge": "Leute gehen über die Brücke",
    "he is tired": "er ist sehr müde",
}


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for part in ("train", "valid", "test"):
        (folder / f"{part}.en").write_text("".join(f"{line}\n" for line in PAIRS))
        (folder / f"{part}.de").write_text("".join(f"{line}\n" for line in PAIRS.values()))
    return folder


@pytest.fixture(scope="session")
def tiny_spec():
    """A function from a term set and recipe fields to a translation spec."""

    def make(terms="0110", batch_tokens=64, **fields):
        attention = AttentionSpec(terms=terms, heads=2)
        fields = {"steps": 120, "warmup_steps": 10, "learning_rate": 1e-2} | fields
        return TranslationSpec(
            data=ParallelTextSpec(),
            vocabulary=VocabularySpec(size=330),
            model=TranslatorSpec(
                width=32,
                layers=1,
                feed_forward=32,
                dropout=0.0,
                norm="pre",
                encoder_self=attention,
                decoder_self=attention,
                cross=attention,
            ),
            recipe=Recipe(schedule=Polynomial(power=1.0), **fields),
            decoding=DecodingSpec(beam=2),
            batch_tokens=batch_tokens,
        )

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory, text_folder, tiny_spec):
    """A run that has memorized the eight pairs: its folder, task and trained objective."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder, spec = tmp_path_factory.mktemp("finished"), tiny_spec()
    (folder / "spec.json").write_text(spec.to_json())
    task = spec.open(text_folder, folder, 0)
    objective = train(task, folder, seed=0).objective
    torch.set_num_threads(before)
    return folder, task, objective


@pytest.fixture(autouse=True)
def always_one_thread(one_thread):
    """Every test here."""
