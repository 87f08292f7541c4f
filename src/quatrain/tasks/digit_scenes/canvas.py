"""Drawing with whole numbers: the same pixels on every machine.

    enlarge(digit, 24, 20)      an 8 x 8 digit of strengths 0...16 as 24 x 20 opacities 0...255
    paint(canvas, opacity, ...)  mixes a colour into a region of the canvas
    line(canvas, ...)            one pixel wide

Images here are (height, width, 3) of int64, values 0...255, as they are drawn.
"""

from functools import lru_cache

import numpy as np

_STRONGEST = 16
_OPAQUE = 255


class Draws:
    """Random numbers built on doubles alone, a stream that stays what it is."""

    def __init__(self, *seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends possible."""
        return low + int(self._random.random() * (high - low + 1))

    def array(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        """Whole numbers of that shape, both ends possible."""
        return low + (self._random.random(shape) * (high - low + 1)).astype(np.int64)


def enlarge(strengths: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear enlargement of strengths 0...16 to opacities 0...255, (height, width)."""
    rows, columns = _weights(strengths.shape[0], height), _weights(strengths.shape[1], width)
    mixed = rows @ strengths.astype(np.int64) @ columns.T
    return mixed * _OPAQUE // (_STRONGEST * 4 * height * width)


def paint(canvas: np.ndarray, opacity: np.ndarray, top: int, left: int, colour: np.ndarray) -> None:
    """Mix `colour` (3) into the canvas where `opacity` is laid, in place."""
    height, width = opacity.shape
    region = canvas[top : top + height, left : left + width]
    share = opacity[:, :, None]
    region[:] = (region * (_OPAQUE - share) + colour * share) // _OPAQUE


def line(canvas: np.ndarray, ends: np.ndarray, colour: np.ndarray) -> None:
    """Draw from ends[0] to ends[1], each (row, column) inside the canvas, in place."""
    start, way = ends[0], ends[1] - ends[0]
    steps = max(int(np.abs(way).max()), 1)
    points = start + way * np.arange(steps + 1)[:, None] // steps
    canvas[points[:, 0], points[:, 1]] = colour


@lru_cache(maxsize=512)
def _weights(source: int, target: int) -> np.ndarray:
    """How much of each source pixel a target pixel holds, in parts of 2 * target."""
    # The centre of target pixel i lies at (2 i + 1) source / (2 target) - 1/2 of the source.
    place = np.clip((2 * np.arange(target) + 1) * source - target, 0, 2 * target * (source - 1))
    low, rest = np.divmod(place, 2 * target)
    weights = np.zeros((target, source), dtype=np.int64)
    weights[np.arange(target), low] = 2 * target - rest
    weights[np.arange(target), np.minimum(low + 1, source - 1)] += rest
    return weights
