"""The paper's seven conclusions as contrasts of cells, each with the verdict that it predicts.

A finding has statements, one for each place in a network that the paper studied. A statement is
about a contrast of mixers, written as `quatrain.nn.mixers.parse_mixer` reads them.

Source: arXiv 1904.05873, sections 4.2 to 4.4, figure 3, tables 2 and 3.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from quatrain.paper.published import configurations, mmdetection

Place = Literal["self-attention", "encoder-decoder attention", "detection", "segmentation"]
Expected = Literal["higher", "lower", "equivalent"]

_TABLES: dict[Place, tuple[str, tuple[str, ...]]] = {
    "self-attention": ("translation", ("figure-3c", "table-2", "table-3")),
    "encoder-decoder attention": ("translation", ("figure-3d",)),
    "detection": ("detection", ("figure-3a", "table-2", "table-3")),
    "segmentation": ("segmentation", ("figure-3b", "table-2", "table-3")),
}
_EVERYWHERE: tuple[Place, ...] = ("self-attention", "detection", "segmentation")


@dataclass(frozen=True)
class Statement:
    """The predicted verdict on a contrast of mixers at one place of a network."""

    place: Place
    claim: str
    contrast: str
    """A sum of mixers with signs, each separated by spaces: "1111 - 0111"."""
    expected: Expected

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the mixers."""
        weights: dict[str, float] = {}
        for sign, mixer in re.findall(r"(^|[+-] )(\S+)", self.contrast):
            weights[mixer] = weights.get(mixer, 0.0) + (-1.0 if sign == "- " else 1.0)
        return weights

    @property
    def published(self) -> float | None:
        """The paper's value of the contrast; None if it lacks one of the mixers."""
        task, tables = _TABLES[self.place]
        return self._value(
            {point.config: point.accuracy for t in tables for point in configurations(t, task)}
        )

    @property
    def mmdetection(self) -> float | None:
        """The value of mmdetection; None at other places, and if it lacks one of the mixers."""
        return self._value(mmdetection()) if self.place == "detection" else None

    def _value(self, accuracies: Mapping[str, float]) -> float | None:
        if not self.weights.keys() <= accuracies.keys():
            return None
        return round(sum(weight * accuracies[mixer] for mixer, weight in self.weights.items()), 2)


@dataclass(frozen=True)
class Finding:
    """One conclusion of the paper; it holds where all its statements hold."""

    number: int
    sentence: str
    statements: tuple[Statement, ...]

    def at(self, place: Place) -> tuple[Statement, ...]:
        """The statements about one place."""
        return tuple(claim for claim in self.statements if claim.place == place)


Claim = tuple[str, str, Expected]


def _at(places: tuple[Place, ...], *claims: Claim) -> tuple[Statement, ...]:
    return tuple(Statement(place, *claim) for place in places for claim in claims)


def _dynamic(windows: Iterable[int], claim: str, expected: Expected) -> list[Claim]:
    return [
        (f"in a window of {n} dynamic convolution {claim} E2", f"dynamic@{n} - 0100@{n}", expected)
        for n in windows
    ]


FINDINGS: tuple[Finding, ...] = (
    Finding(
        1,
        "In self-attention the terms with query content (E1, E2) add little.",
        _at(
            _EVERYWHERE,
            ("E3 and E4 help", "0011 - w/o", "higher"),
            ("E1 is negligible next to the other terms", "1111 - 0111", "equivalent"),
            ("E1 and E2 add less than E3 and E4", "1111 - 0011 - 0011 + w/o", "lower"),
        ),
    ),
    Finding(
        2,
        "In encoder-decoder attention E1 is vital, and alone does as well as all four terms.",
        _at(
            ("encoder-decoder attention",),
            ("E1 is vital", "1111 - 0111", "higher"),
            ("E1 alone does as well as all four terms", "1111 - 1000", "equivalent"),
        ),
    ),
    Finding(
        3,
        "In self-attention E2 and E3 matter most.",
        _at(
            _EVERYWHERE,
            ("E2 and E3 do as well as all four terms", "1111 - 0110", "equivalent"),
            ("E3 alone helps", "0010 - w/o", "higher"),
        ),
    ),
    Finding(
        4,
        "Deformable convolution is better than E2 in vision, and on par with it in translation.",
        (
            *_at(
                ("self-attention",),
                ("it is on par with E2", "w/o+deformable - 0100", "equivalent"),
            ),
            *_at(
                ("detection", "segmentation"),
                ("it is better than E2", "w/o+deformable - 0100", "higher"),
            ),
        ),
    ),
    Finding(
        5,
        "Deformable convolution with E3 alone does as well as with all four terms.",
        _at(
            _EVERYWHERE,
            ("it does as well", "1111+deformable - 0010+deformable", "equivalent"),
        ),
    ),
    Finding(
        6,
        "Dynamic convolution is on par with E2 of the same window in translation, and worse in "
        "vision.",
        (
            *_at(
                ("self-attention",),
                *_dynamic((3, 7, 13, 15, 19, 25, 31), "is on par with", "equivalent"),
            ),
            *_at(
                ("detection", "segmentation"),
                *_dynamic((7, 13, 19, 25, 31), "is worse than", "lower"),
            ),
        ),
    ),
    Finding(
        7,
        "In self-attention the terms with query content alone do as well as those without alone.",
        _at(_EVERYWHERE, ("E1 and E2 do as well as E3 and E4", "1100 - 0011", "equivalent")),
    ),
)
