"""Digit scenes: real handwritten digits on cluttered canvases, made here, without a download.

    a canvas of noise  +  lines and pieces of other digits  +  one to four digits, some in front
    of others  ->  an image, who owns each pixel, and which digit each owner is

To find a digit means to tell it from pieces of digits, and to name it, to see it whole. The parts
share no handwritten digit: what is asked about at the end was never seen in training.

Source: the digits are scikit-learn's `load_digits`, from Alpaydin and Kaynak 1998, Optical
Recognition of Handwritten Digits, https://doi.org/10.24432/C50P49.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from pydantic import Field, model_validator
from torch import Tensor

from quatrain.specs import Spec, SpecError
from quatrain.tasks.digit_scenes.canvas import Draws, enlarge, line, paint
from quatrain.tasks.vision.files import sha256

DIGITS = tuple("0123456789")

# Neighbours in scikit-learn's order are mostly by one hand, so each part is one stretch of it.
_STRETCHES = {"train": (0, 1100), "valid": (1100, 1400), "test": (1400, 1797)}
_VISIBLE = 110
_LEAST_SHOWN = 0.75
_TRIES = 20


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture: `owners` holds 0 for the background and k for the k-th digit, from 1."""

    image: UInt8[Tensor, "3 h w"]
    owners: UInt8[Tensor, "h w"]
    digits: Int64[Tensor, " n"]

    @property
    def masks(self) -> Bool[Tensor, "n h w"]:
        """The visible pixels of each digit; no pixel has two."""
        numbers = torch.arange(1, len(self.digits) + 1, dtype=torch.uint8)
        return self.owners == numbers[:, None, None]


@dataclass(frozen=True)
class Scenes:
    """The three parts, and the SHA-256 of their pixels and digits."""

    train: tuple[Scene, ...]
    valid: tuple[Scene, ...]
    test: tuple[Scene, ...]
    hashes: dict[str, str]
    test_hashes: dict[str, str]


class DigitScenesSpec(Spec):
    """How many scenes to make, how large and how full.

    A scene depends on its part, its number and `variant`, so a larger `train` leaves all others as
    they are.

    Example:
        >>> DigitScenesSpec(train=8, valid=2, test=2).make().test[0].image.shape
        torch.Size([3, 96, 96])
    """

    kind: Literal["digit scenes"] = "digit scenes"
    size: int = Field(default=96, ge=48, le=1024)
    """Height and width in pixels."""
    lowest: float = Field(default=1 / 6, ge=1 / 12, le=1 / 2)
    """Height of the smallest digit, as a share of the scene's."""
    highest: float = Field(default=1 / 3, ge=1 / 12, le=1 / 2)
    """Height of the largest."""
    train: int = Field(default=2000, ge=1)
    valid: int = Field(default=200, ge=1)
    test: int = Field(default=500, ge=1)
    most: int = Field(default=4, ge=1, le=9)
    """A scene has one to this many digits."""
    clutter: int = Field(default=12, ge=0, le=200)
    """Pieces of digits behind them, and a third as many lines."""
    variant: int = Field(default=0, ge=0)
    """Another variant is another sample of the same scenes."""

    @model_validator(mode="after")
    def _heights_in_order(self) -> "DigitScenesSpec":
        if self.highest < self.lowest:
            raise SpecError(
                "DigitScenesSpec.highest",
                self.highest,
                f"at least {self.lowest}, the height of the smallest digit",
                "exchange the two",
            )
        return self

    def make(self) -> Scenes:
        """Draw all scenes: a few seconds for the default number."""
        # Frozen specs are hashable, which the checker does not see.
        return _make(self)  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=2)
def _make(spec: DigitScenesSpec) -> Scenes:
    """Runs of one study share their scenes, and a worker does many of them."""
    numbers = (spec.train, spec.valid, spec.test)
    train, valid, test = (
        tuple(draw_scene(spec, part, index) for index in range(number))
        for part, number in zip(_STRETCHES, numbers, strict=True)
    )
    hashes = {"digit scenes": _fingerprint((train, valid, test))}
    return Scenes(train, valid, test, hashes, {"test": _fingerprint((test,))})


def draw_scene(spec: DigitScenesSpec, part: str, index: int) -> Scene:
    """The scene of that number in "train", "valid" or "test"."""
    stretch = _STRETCHES[part]
    draws = Draws(spec.variant, stretch[0], index)
    side = spec.size
    base = draws.array(60, 195, (3,))
    canvas = np.broadcast_to(base, (side, side, 3)).copy()
    _scatter_clutter(canvas, draws, spec, stretch)
    owners = np.zeros((side, side), dtype=np.uint8)
    digits: list[int] = []
    whole = np.zeros(1, dtype=np.int64)  # pixels of each owner before others hid some
    for _ in range(draws.between(1, spec.most)):
        chosen = draws.between(stretch[0], stretch[1] - 1)
        # At least this far from the canvas in every channel, whichever way there is room.
        colour = (base + draws.array(80, 175, (3,))) % 256
        opacity = enlarge(_handwritten()[0][chosen], *_extent(draws, spec, side))
        ink = _place_digit(canvas, owners, draws, whole, opacity, colour)
        if ink:
            whole = np.append(whole, ink)
            digits.append(int(_handwritten()[1][chosen]))
    canvas += draws.array(-20, 20, canvas.shape)
    pixels = np.clip(canvas, 0, 255).astype(np.uint8).transpose(2, 0, 1)
    return Scene(
        torch.from_numpy(np.ascontiguousarray(pixels)),
        torch.from_numpy(owners),
        torch.tensor(digits, dtype=torch.int64),
    )


def _scatter_clutter(
    canvas: np.ndarray, draws: Draws, spec: DigitScenesSpec, stretch: tuple[int, int]
) -> None:
    side = len(canvas)
    for _ in range(spec.clutter // 3):
        line(canvas, draws.array(0, side - 1, (2, 2)), draws.array(0, 255, (3,)))
    images, _ = _handwritten()
    for _ in range(spec.clutter):
        digit = images[draws.between(stretch[0], stretch[1] - 1)]
        top, left = draws.between(0, 4), draws.between(0, 4)
        opacity = enlarge(digit[top : top + 4, left : left + 4], *_extent(draws, spec, side // 2))
        paint(canvas, opacity, *_corner(canvas, opacity, draws), draws.array(0, 255, (3,)))


def _place_digit(
    canvas: np.ndarray,
    owners: np.ndarray,
    draws: Draws,
    whole: np.ndarray,
    opacity: np.ndarray,
    colour: np.ndarray,
) -> int:
    """Draw a digit that leaves most of every other one to be seen.

    Returns:
        How many pixels it has: none if there was no room.
    """
    ink = opacity >= _VISIBLE
    owned = np.bincount(owners.ravel(), minlength=len(whole))
    for _ in range(_TRIES):
        top, left = _corner(canvas, opacity, draws)
        region = owners[top : top + opacity.shape[0], left : left + opacity.shape[1]]
        left_over = owned - np.bincount(region[ink], minlength=len(whole))
        if (left_over[1:] >= _LEAST_SHOWN * whole[1:]).all():
            paint(canvas, opacity, top, left, colour)
            region[ink] = len(whole)
            return int(ink.sum())
    return 0


def _extent(draws: Draws, spec: DigitScenesSpec, side: int) -> tuple[int, int]:
    height = draws.between(int(side * spec.lowest), int(side * spec.highest))
    return height, height * draws.between(80, 120) // 100


def _corner(canvas: np.ndarray, opacity: np.ndarray, draws: Draws) -> tuple[int, int]:
    height, width = np.subtract(canvas.shape[:2], opacity.shape).tolist()
    return draws.between(0, height), draws.between(0, width)


@cache
def _handwritten() -> tuple[np.ndarray, np.ndarray]:
    """1,797 digits of 8 x 8 strengths 0...16, and which each is."""
    # Importing it takes a second, which only who makes scenes should wait for.
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return found["images"].astype(np.int64), found["target"].astype(np.int64)


def _fingerprint(parts: Sequence[Sequence[Scene]]) -> str:
    return sha256(
        piece
        for part in parts
        for scene in part
        for piece in (
            scene.image.numpy().tobytes(),
            scene.owners.numpy().tobytes(),
            scene.digits.numpy().astype("<i8").tobytes(),
        )
    )
