import pytest
import torch
from torch.testing import assert_close

from quatrain.ops.attention.custom_operator import register_operator
from quatrain.specs import InputError


def weighted_sum(x, missing, others, scale):
    del missing
    return x * scale + sum(others), x.new_ones(2)


def gradients(grad_output, results, x, missing, others, scale):
    assert len(results) == 2
    return [grad_output * scale, *(grad_output.clone() for _ in others)]


def empty(x, *_):
    return x.new_empty(x.shape), x.new_empty(2)


OPERATOR = register_operator(
    "quatrain_tests::weighted_sum",
    "Tensor x, Tensor? missing, Tensor[] others, float scale",
    forward=weighted_sum,
    fake=empty,
    backward=gradients,
    differentiable=(0, 1, 2),
    outputs=2,
)


def leaves():
    return [torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(3)]


def test_tensors_and_lists_of_tensors_have_gradients():
    x, *others = leaves()
    output, constant = OPERATOR(x, None, others, 2.0)
    assert not constant.requires_grad
    grads = torch.autograd.grad(output.square().sum(), (x, *others))
    assert_close(grads, (4 * output, 2 * output, 2 * output))


def test_second_derivatives_raise():
    x, *others = leaves()
    output, _ = OPERATOR(x, None, others, 2.0)
    (first,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
    with pytest.raises(InputError) as caught:
        torch.autograd.grad(first.sum(), x)
    assert caught.value.field == "method"


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own, of the check
def test_it_passes_opcheck():
    x, *others = leaves()
    torch.library.opcheck(OPERATOR, (x, None, others, 2.0))
