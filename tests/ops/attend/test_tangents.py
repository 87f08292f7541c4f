import pytest
import torch
from torch.autograd import forward_ad
from torch.testing import assert_close

from quatrain.nn import AttentionSpec
from quatrain.ops.attend.tangents import refuse_tangents
from quatrain.specs import InputError


@pytest.mark.parametrize(("terms", "shape"), [("1111", (2, 300, 8)), ("0110", (1, 8, 24, 24))])
@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")  # torch's own, for this mode
def test_a_method_without_forward_derivatives_says_so(terms, shape, learns):
    torch.manual_seed(0)
    attention = AttentionSpec(terms=terms, heads=2).build(8, ndim=len(shape) - 2).double()
    attention.requires_grad_(learns)
    x, tangent = torch.randn(2, *shape, dtype=torch.float64).unbind()
    with pytest.raises(InputError, match=r"torch\.func\.jvp"):
        torch.func.jvp(attention, (x,), (tangent,))
    with pytest.raises(InputError), forward_ad.dual_level():
        attention(forward_ad.make_dual(x, tangent))
    output, found = torch.func.jvp(lambda x: attention(x, method="reference"), (x,), (tangent,))
    step = 1e-6
    around = [attention(x + sign * step * tangent) for sign in (1, -1)]
    assert_close(found, (around[0] - around[1]) / (2 * step), rtol=1e-5, atol=1e-6)
    assert_close(output, attention(x))


def test_other_inputs_are_let_through():
    x = torch.ones(2, requires_grad=True)
    refuse_tangents(x, None)
    with forward_ad.dual_level():
        refuse_tangents(x)
