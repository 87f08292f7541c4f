"""Numerals: generated English-German sentences about numbers, which need no download.

    she sold forty-two books for 1,234.50 euros
    sie hat für 1.234,50 Euro zweiundvierzig Bücher verkauft

    the third train left at half past three on March 21, 2024
    am 21. März 2024 fuhr um halb vier der dritte Zug ab

Quantities are at other positions in the translation (alignment), their parts in another order
("forty-two" is "two and forty" in German), and the German verb at its own position. Each source
sentence has exactly one correct translation.
"""

import hashlib
from collections.abc import Callable
from typing import Literal

from pydantic import Field

from quatrain.specs import Spec
from quatrain.tasks.translation import phrases
from quatrain.tasks.translation.parallel_text import Corpus, Pair
from quatrain.tasks.translation.phrases import PortableRandom

_THINGS: tuple[Pair, ...] = (
    ("apples", "Äpfel"),
    ("books", "Bücher"),
    ("bottles", "Flaschen"),
    ("chairs", "Stühle"),
    ("letters", "Briefe"),
    ("pictures", "Bilder"),
    ("tickets", "Karten"),
    ("windows", "Fenster"),
)
_VERBS: tuple[Pair, ...] = (
    ("counted", "gezählt"),
    ("delivered", "geliefert"),
    ("found", "gefunden"),
    ("ordered", "bestellt"),
    ("sold", "verkauft"),
)
_PEOPLE: tuple[Pair, ...] = (
    ("she", "sie"),
    ("he", "er"),
    ("the teacher", "die Lehrerin"),
    ("my neighbour", "mein Nachbar"),
)

_SLOTS: dict[str, Callable[[PortableRandom], Pair]] = {
    "amount": phrases.amount,
    "cardinal": phrases.cardinal,
    "clock": phrases.clock,
    "count": phrases.count,
    "day": phrases.day,
    "done": lambda random: random.choice(_VERBS),
    "ordinal": phrases.ordinal,
    "person": lambda random: random.choice(_PEOPLE),
    "things": lambda random: random.choice(_THINGS),
    "year": phrases.year,
}

_TEMPLATES: tuple[Pair, ...] = (
    ("{cardinal}", "{cardinal}"),
    ("at {clock} on {day}", "am {day} um {clock}"),
    ("{count} {things} were {done} on {day}", "am {day} wurden {count} {things} {done}"),
    ("{count} {things} were {done} in {year}", "im Jahr {year} wurden {count} {things} {done}"),
    ("{person} {done} {count} {things} for {amount}",
     "{person} hat für {amount} {count} {things} {done}"),
    ("{person} paid {amount} at {clock}", "um {clock} hat {person} {amount} bezahlt"),
    ("the {ordinal} train left at {clock} on {day}",
     "am {day} fuhr um {clock} der {ordinal} Zug ab"),
    ("we know that {person} {done} {count} {things} at {clock}",
     "wir wissen, dass {person} um {clock} {count} {things} {done} hat"),
)  # fmt: skip


class NumeralsSpec(Spec):
    """The numbers of sentence pairs to generate.

    The validation and test parts do not depend on `train`, and no sentence, on either side, is in
    two pairs.

    Example:
        >>> NumeralsSpec(train=1000).read().test[0]
    """

    kind: Literal["numerals"] = "numerals"
    train: int = Field(default=20_000, ge=1, le=200_000)
    valid: int = Field(default=500, ge=1, le=10_000)
    test: int = Field(default=500, ge=1, le=10_000)
    variant: int = Field(default=0, ge=0)
    """The seed of the sample."""

    def read(self, folder: object = None) -> Corpus:  # noqa: ARG002 - the interface of data specs
        """Generate the sentences; `folder` is ignored."""
        pairs = _different_pairs(self.test + self.valid + self.train, PortableRandom(self.variant))
        text = "\n".join(f"{source}\t{target}" for source, target in pairs)
        held_out = self.test + self.valid
        return Corpus(
            train=pairs[held_out:],
            valid=pairs[self.test : held_out],
            test=pairs[: self.test],
            languages=("en", "de"),
            hashes={"numerals": hashlib.sha256(text.encode()).hexdigest()},
        )


def _different_pairs(number: int, random: PortableRandom) -> list[Pair]:
    pairs: list[Pair] = []
    sources: set[str] = set()
    targets: set[str] = set()
    while len(pairs) < number:
        source, target = _sentence(random)
        if source in sources or target in targets:
            continue
        sources.add(source)
        targets.add(target)
        pairs.append((source, target))
    return pairs


def _sentence(random: PortableRandom) -> Pair:
    source, target = random.choice(_TEMPLATES)
    slots = {name: draw(random) for name, draw in _SLOTS.items() if f"{{{name}}}" in source}
    return (
        source.format(**{name: phrase[0] for name, phrase in slots.items()}),
        target.format(**{name: phrase[1] for name, phrase in slots.items()}),
    )
