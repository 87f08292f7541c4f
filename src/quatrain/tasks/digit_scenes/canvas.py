"""Drawing in integer arithmetic: the same pixels on every machine.

    enlarge(digit, 24, 20)       an 8 x 8 digit of values 0...16 as 24 x 20 opacities 0...255
    blend(canvas, opacity, ...)  blends a colour into a region of the canvas
    draw_line(canvas, ...)       one pixel wide

A canvas is (height, width, 3) of int64, values 0...255.
"""

from functools import lru_cache

import numpy as np

_DIGIT_MAX = 16
_OPAQUE = 255


class RandomIntegers:
    """Random integers computed from doubles alone, whose stream numpy keeps across versions."""

    def __init__(self, *seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def array(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        """Integers of that shape from `low` to `high`, both included."""
        return low + (self._random.random(shape) * (high - low + 1)).astype(np.int64)


def enlarge(digit: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear enlargement of values 0...16 to opacities 0...255, (height, width)."""
    rows, columns = _weights(digit.shape[0], height), _weights(digit.shape[1], width)
    scaled = rows @ digit.astype(np.int64) @ columns.T
    return scaled * _OPAQUE // (_DIGIT_MAX * 4 * height * width)


def blend(canvas: np.ndarray, opacity: np.ndarray, top: int, left: int, color: np.ndarray) -> None:
    """Blend a colour of three channels into the canvas at (top, left), in place."""
    height, width = opacity.shape
    region = canvas[top : top + height, left : left + width]
    share = opacity[:, :, None]
    region[:] = (region * (_OPAQUE - share) + color * share) // _OPAQUE


def draw_line(canvas: np.ndarray, ends: np.ndarray, color: np.ndarray) -> None:
    """Draw a line from ends[0] to ends[1], each (row, column) inside the canvas, in place."""
    start, difference = ends[0], ends[1] - ends[0]
    steps = max(int(np.abs(difference).max()), 1)
    points = start + difference * np.arange(steps + 1)[:, None] // steps
    canvas[points[:, 0], points[:, 1]] = color


@lru_cache(maxsize=512)
def _weights(source: int, target: int) -> np.ndarray:
    """The interpolation weights (target, source), in units of 1 / (2 * target)."""
    # The centre of target pixel i lies at (2 i + 1) source / (2 target) - 1/2 of the source.
    center = np.clip((2 * np.arange(target) + 1) * source - target, 0, 2 * target * (source - 1))
    low, rest = np.divmod(center, 2 * target)
    weights = np.zeros((target, source), dtype=np.int64)
    weights[np.arange(target), low] = 2 * target - rest
    weights[np.arange(target), np.minimum(low + 1, source - 1)] += rest
    return weights
