"""Digit scenes: handwritten digits on cluttered canvases, generated without a download.

    a canvas of noise  +  lines and pieces of other digits  +  one to four digits, which may overlap
    ->  an image, the digit instance of each pixel, and the class of each instance

Detection has to separate digits from pieces of digits, and classification needs the whole digit.
The training, validation and test parts share no handwritten digit.

Source: the digits are scikit-learn's `load_digits`, from Alpaydin and Kaynak 1998, Optical
Recognition of Handwritten Digits, https://doi.org/10.24432/C50P49.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from pydantic import Field, model_validator
from torch import Tensor

from quatrain.specs import Spec, SpecError, name_missing_extra
from quatrain.tasks.digit_scenes.canvas import RandomIntegers, blend, draw_line, enlarge
from quatrain.tasks.vision.files import sha256
from quatrain.tasks.vision.parts import DatasetParts

DIGITS = tuple("0123456789")

# scikit-learn orders digits by writer, so each part takes one contiguous range.
_RANGES = {"train": (0, 1100), "valid": (1100, 1400), "test": (1400, 1797)}
_VISIBLE_OPACITY = 110
_VISIBLE_SHARE = 0.75
_ATTEMPTS = 20


@dataclass(frozen=True, eq=False)
class Scene:
    """One image; `instances` is 0 for the background and k for the k-th digit, from 1."""

    image: UInt8[Tensor, "3 h w"]
    instances: UInt8[Tensor, "h w"]
    digits: Int64[Tensor, " n"]

    @property
    def masks(self) -> Bool[Tensor, "n h w"]:
        """The visible pixels of each digit; masks do not overlap."""
        numbers = torch.arange(1, len(self.digits) + 1, dtype=torch.uint8)
        return self.instances == numbers[:, None, None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scenes(DatasetParts[tuple[Scene, ...]]):
    """The scenes of the three parts, and the SHA-256 of their pixels and digits."""

    def converted(self, part: Callable[[tuple[Scene, ...]], Any]) -> dict[str, Any]:
        """The fields of a dataset of other parts; `part` converts each."""
        return {
            "train": part(self.train),
            "valid": part(self.valid),
            "test": part(self.test),
            "hashes": self.hashes,
            "test_hashes": self.test_hashes,
        }


class DigitScenesSpec(Spec):
    """Number, size and content of digit scenes.

    A scene depends on its part, its index and `variant`, so a larger `train` changes no other
    scene.

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
    """Height of the largest digit, as a share of the scene's."""
    train: int = Field(default=2000, ge=1)
    valid: int = Field(default=200, ge=1)
    test: int = Field(default=500, ge=1)
    most: int = Field(default=4, ge=1, le=9)
    """The largest number of digits in a scene; the smallest is one."""
    clutter: int = Field(default=12, ge=0, le=200)
    """Pieces of digits in the background; a third as many lines are added."""
    variant: int = Field(default=0, ge=0)
    """The seed of the scenes."""

    @model_validator(mode="after")
    def _heights_in_order(self) -> "DigitScenesSpec":
        if self.highest < self.lowest:
            message = f"highest={self.highest} is less than lowest={self.lowest}; exchange the two"
            raise SpecError(message, "DigitScenesSpec.highest")
        return self

    def make(self) -> Scenes:
        """Generate all scenes: a few seconds for the default number."""
        # Frozen specs are hashable, which the checker does not see.
        return _make(self)  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=2)
def _make(spec: DigitScenesSpec) -> Scenes:
    """The scenes of a spec, cached because the runs of one study share them."""
    counts = (spec.train, spec.valid, spec.test)
    train, valid, test = (
        tuple(draw_scene(spec, part, index) for index in range(count))
        for part, count in zip(_RANGES, counts, strict=True)
    )
    return Scenes(
        train=train,
        valid=valid,
        test=test,
        hashes={"digit scenes": _fingerprint((train, valid, test))},
        test_hashes={"test": _fingerprint((test,))},
    )


def draw_scene(spec: DigitScenesSpec, part: str, index: int) -> Scene:
    """The scene of that index in "train", "valid" or "test"."""
    source = _RANGES[part]
    random = RandomIntegers(spec.variant, source[0], index)
    side = spec.size
    background = random.array(60, 195, (3,))
    canvas = np.broadcast_to(background, (side, side, 3)).copy()
    _draw_clutter(canvas, random, spec, source)
    instances = np.zeros((side, side), dtype=np.uint8)
    digits: list[int] = []
    areas = np.zeros(1, dtype=np.int64)  # pixels of each instance before others covered some
    for _ in range(random.integer(1, spec.most)):
        index_of_digit = random.integer(source[0], source[1] - 1)
        # At least 80 from the background in every channel, also where it wraps at 256.
        color = (background + random.array(80, 175, (3,))) % 256
        opacity = enlarge(_digit_images()[0][index_of_digit], *_random_size(random, spec, side))
        area = _place_digit(canvas, instances, random, areas, opacity, color)
        if area:
            areas = np.append(areas, area)
            digits.append(int(_digit_images()[1][index_of_digit]))
    canvas += random.array(-20, 20, canvas.shape)
    pixels = np.clip(canvas, 0, 255).astype(np.uint8).transpose(2, 0, 1)
    return Scene(
        torch.from_numpy(np.ascontiguousarray(pixels)),
        torch.from_numpy(instances),
        torch.tensor(digits, dtype=torch.int64),
    )


def _draw_clutter(
    canvas: np.ndarray, random: RandomIntegers, spec: DigitScenesSpec, source: tuple[int, int]
) -> None:
    side = len(canvas)
    for _ in range(spec.clutter // 3):
        draw_line(canvas, random.array(0, side - 1, (2, 2)), random.array(0, 255, (3,)))
    images, _ = _digit_images()
    for _ in range(spec.clutter):
        digit = images[random.integer(source[0], source[1] - 1)]
        top, left = random.integer(0, 4), random.integer(0, 4)
        piece = digit[top : top + 4, left : left + 4]
        opacity = enlarge(piece, *_random_size(random, spec, side // 2))
        corner = _random_corner(canvas, opacity, random)
        blend(canvas, opacity, *corner, random.array(0, 255, (3,)))


def _place_digit(
    canvas: np.ndarray,
    instances: np.ndarray,
    random: RandomIntegers,
    areas: np.ndarray,
    opacity: np.ndarray,
    color: np.ndarray,
) -> int:
    """Draw a digit at a random place that leaves most of every other digit visible.

    Returns:
        The digit's number of pixels; 0 if no place was found.
    """
    mask = opacity >= _VISIBLE_OPACITY
    visible = np.bincount(instances.ravel(), minlength=len(areas))
    for _ in range(_ATTEMPTS):
        top, left = _random_corner(canvas, opacity, random)
        region = instances[top : top + opacity.shape[0], left : left + opacity.shape[1]]
        remaining = visible - np.bincount(region[mask], minlength=len(areas))
        if (remaining[1:] >= _VISIBLE_SHARE * areas[1:]).all():
            blend(canvas, opacity, top, left, color)
            region[mask] = len(areas)
            return int(mask.sum())
    return 0


def _random_size(random: RandomIntegers, spec: DigitScenesSpec, side: int) -> tuple[int, int]:
    height = random.integer(int(side * spec.lowest), int(side * spec.highest))
    return height, height * random.integer(80, 120) // 100


def _random_corner(
    canvas: np.ndarray, opacity: np.ndarray, random: RandomIntegers
) -> tuple[int, int]:
    height, width = np.subtract(canvas.shape[:2], opacity.shape).tolist()
    return random.integer(0, height), random.integer(0, width)


@cache
def _digit_images() -> tuple[np.ndarray, np.ndarray]:
    """1,797 digits of 8 x 8 values 0...16, and the class of each."""
    with name_missing_extra():
        from sklearn.datasets import load_digits  # a second to import

    data: Any = load_digits()
    return data["images"].astype(np.int64), data["target"].astype(np.int64)


def _fingerprint(parts: Sequence[Sequence[Scene]]) -> str:
    return sha256(
        piece
        for part in parts
        for scene in part
        for piece in (
            scene.image.numpy().tobytes(),
            scene.instances.numpy().tobytes(),
            scene.digits.numpy().astype("<i8").tobytes(),
        )
    )
