"""Weights by formula, so that two programs can fill a detector equally without sharing a file."""

import zlib

import numpy as np


def weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The values of a tensor, from its name and shape."""
    # RandomState: its numbers are the same in every version of numpy.
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    if leaf == "running_var":
        return 1 + 0.2 * np.abs(noise)
    if leaf == "gamma":
        return 0 * noise + 0.7
    if "bn" in name or "downsample.1" in name:
        return (leaf == "weight") + 0.2 * noise
    scale = 0.1 if len(shape) < 2 or "conv_offset" in name else np.prod(shape[1:]) ** -0.5
    return noise * scale * (0.3 if "rpn_reg" in name or "fc_reg" in name else 1)


def image(height: int, width: int) -> np.ndarray:
    """An RGB image of noise, (3, height, width)."""
    generator = np.random.RandomState(5)
    return generator.randint(0, 256, (3, height, width)).astype(np.uint8)
