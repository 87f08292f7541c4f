"""Files of weights: safe reading, checks of names and shapes, saving a model with its spec."""

from quatrain.weights.building import build_for
from quatrain.weights.folder import SavedModule
from quatrain.weights.matching import describe_misfits, misfits
from quatrain.weights.tensor_file import read_tensors, write_tensors
from quatrain.weights.torch_file import TorchFile, read_torch_file

__all__ = [
    "SavedModule",
    "TorchFile",
    "build_for",
    "describe_misfits",
    "misfits",
    "read_tensors",
    "read_torch_file",
    "write_tensors",
]
