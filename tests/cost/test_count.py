import json
import pickle

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import register_flop_formula

from quatrain.cost import MultiplyAdds, count_multiply_adds, count_parameters


class Call(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.output = nn.Linear(4, 11, bias=False)
        self.output.weight = self.embedding.weight


def test_a_linear_layer_counts_rows_times_its_two_widths():
    linear = nn.Linear(5, 7)
    assert count_multiply_adds(linear, torch.zeros(2, 3, 5)) == 2 * 3 * 5 * 7


def test_a_convolution_counts_positions_times_its_kernel():
    convolution = nn.Conv2d(3, 4, kernel_size=3, padding=1)
    assert count_multiply_adds(convolution, torch.zeros(2, 3, 5, 6)) == 2 * 5 * 6 * 3 * 4 * 9


def test_the_fused_path_of_torchs_own_attention_does_not_hide_its_products():
    length, width = 6, 8
    module = nn.MultiheadAttention(width, 2, batch_first=True)
    x = torch.zeros(1, length, width)
    expected = 4 * length * width**2 + 2 * length**2 * width
    assert count_multiply_adds(module, x, x, x, need_weights=False) == expected
    assert torch.backends.mha.get_fastpath_enabled()


def test_counting_restores_each_training_mode_and_leaves_no_hook():
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    module[0].eval()
    count_multiply_adds(module, torch.zeros(1, 3))
    assert [part.training for part in module.modules()] == [True, False, True]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_a_module_that_raises_gets_its_training_mode_back():
    module = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        count_multiply_adds(module, torch.zeros(1, 4))
    assert module.training
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_module_runs_in_evaluation_mode_without_gradients():
    seen = []

    class Probe(nn.Module):
        def forward(self):
            seen.append((self.training, torch.is_grad_enabled()))

    count_multiply_adds(Probe())
    assert seen == [(False, False)]


def test_a_shared_parameter_counts_once():
    assert count_parameters(Tied()) == 11 * 4
    assert count_parameters(nn.Linear(3, 5)) == 3 * 5 + 5


@pytest.mark.parametrize(
    ("function", "shape", "names"),
    [
        (torch.linalg.inv, (3, 3), {"aten::linalg_inv_ex": 1}),
        (torch.linalg.det, (3, 3), {"aten::_linalg_det": 1}),
        (torch.linalg.matrix_exp, (3, 3), {"aten::linalg_matrix_exp": 1}),
        (torch.linalg.svdvals, (3, 3), {"aten::_linalg_svd": 1}),
        (lambda x: torch.fft.rfft(torch.fft.rfft(x).real), (8,), {"aten::_fft_r2c": 2}),
        (lambda x: torch.sparse.mm(x.to_sparse(), x), (3, 3), {"aten::_sparse_addmm": 1}),
    ],
)
def test_a_matrix_operator_without_a_formula_is_named(function, shape, names):
    with pytest.warns(UserWarning, match=r"not counted.*" + next(iter(names))):
        counted = count_multiply_adds(
            Call(function), torch.eye(*shape) if len(shape) > 1 else torch.ones(shape)
        )
    assert counted == 0
    assert dict(counted.uncounted) == names


def test_what_is_no_product_of_matrices_is_not_named():
    def everything(x):
        y = x.softmax(-1).cumsum(0).sort().values
        y = nn.functional.layer_norm(x, (4,)) + x.max(-1, keepdim=True).values
        y = nn.functional.interpolate(y[None, None], scale_factor=2, mode="bilinear")
        y = nn.functional.grid_sample(y, torch.zeros(1, 3, 3, 2), align_corners=False)
        cell = nn.LSTMCell(3, 3)
        return cell(y[0, 0]), nn.functional.embedding_bag(torch.ones(2, 3, dtype=int), x), x.T

    counted = count_multiply_adds(Call(everything), torch.ones(4, 4))
    assert (counted, dict(counted.uncounted)) == (3 * 12 * 6, {})


def test_an_operator_of_a_library_nobody_knows_is_named_until_it_has_a_formula():
    @torch.library.custom_op("quatrain_tests::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x @ x

    with pytest.warns(UserWarning, match=r"quatrain_tests::twice \(1x\)"):
        counted = count_multiply_adds(Call(twice), torch.ones(3, 3))
    assert dict(counted.uncounted) == {"quatrain_tests::twice": 1}

    @register_flop_formula(torch.ops.quatrain_tests.twice)
    def twice_flops(shape, out_shape=None, **_):
        return 2 * shape[0] ** 3

    counted = count_multiply_adds(Call(twice), torch.ones(3, 3))
    assert (counted, dict(counted.uncounted)) == (27, {})


def test_the_number_is_an_integer_wherever_it_goes():
    counted = count_multiply_adds(nn.Linear(2, 3), torch.zeros(5, 2))
    assert isinstance(counted, MultiplyAdds)
    assert json.dumps([counted]) == "[30]"
    assert f"{counted:,} {counted}" == "30 30"
    named = MultiplyAdds(3, {"aten::det": 1})
    read = pickle.loads(pickle.dumps(named))
    assert (read, read.uncounted) == (named, named.uncounted)


def test_inference_mode_hides_nothing():
    x = torch.zeros(2, 3, 4)
    with torch.inference_mode():
        assert count_multiply_adds(nn.Linear(4, 5), x) == 6 * 20
        assert count_multiply_adds(Call(torch.matmul), x, x[0].T) == 6 * 12
