import torch

from quatrain.nn.convolution import InputState


def test_a_state_is_extended_cut_and_chosen_from():
    first, second = torch.ones(2, 1, 3), 2 * torch.ones(2, 1, 3)
    state = InputState.empty(first, length=1).extended(first).extended(second)
    assert state.inputs[:, :, 0].tolist() == [[0.0, 1.0, 2.0]] * 2
    assert state.last(2).inputs[:, :, 0].tolist() == [[1.0, 2.0]] * 2
    assert state.last(0).inputs.shape == (2, 0, 3)
    assert state.select(torch.tensor([1])).inputs.shape == (1, 3, 3)
