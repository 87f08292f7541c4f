import torch

from quatrain.ops.attention.blockwise.workspace import Workspace


def test_buffers_share_memory():
    workspace, like = Workspace(), torch.zeros(1, dtype=torch.float64)
    first, smaller = workspace.buffer((3, 4), like), workspace.buffer((2, 5), like)
    assert first.shape == (3, 4)
    assert smaller.shape == (2, 5)
    assert smaller.dtype == torch.float64
    assert first.data_ptr() == smaller.data_ptr()


def test_memory_grows_for_larger_buffers_and_stays():
    workspace, like = Workspace(), torch.zeros(1)
    small = workspace.buffer((2, 2), like)
    large = workspace.buffer((3, 3), like).fill_(1.0)
    assert small.data_ptr() != large.data_ptr()
    assert workspace.buffer((2, 2), like).sum() == 4
