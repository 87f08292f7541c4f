import pytest
import torch
from torch.testing import assert_close

from ops import loops
from quatrain.nn import AttentionSpec
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import AttentionInputs, Operands
from quatrain.specs import ALL_TERM_SETS, Term

every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)


def by_hand(module, query, key):
    """The paper's operands from the module's parameters, without its forward."""
    d = module.channels // module.spec.heads

    def split(layer, x):
        if layer is None:
            return None
        projected = x @ layer.weight.T
        return torch.stack([projected[..., m * d : (m + 1) * d] for m in range(2)], dim=1)

    grid = Grid((query.shape[1],), (key.shape[1],))
    encodings = [loops.sinusoid(position, 8, 10_000) for position in grid.relative_range(0)]
    table = torch.tensor(encodings, dtype=torch.float64)
    relative = tuple(split(layer, table[None])[0] for layer in module.position or ())
    biases = {"content_vector": module.key_bias, "position_vector": module.position_bias}
    operands = Operands(
        value=split(module.value, key),
        query=split(module.query, query),
        key=split(module.key, key),
        relative=relative,
        scale=d**-0.5,
        **biases,
    )
    attended = loops.attend(AttentionInputs(module.spec.terms, operands, grid, Support()))
    return torch.cat(list(attended.unbind(1)), dim=-1) @ module.output.weight.T + module.output.bias


@every_term_set
def test_the_operands_are_those_of_the_formula(terms):
    torch.manual_seed(0)
    module = AttentionSpec(terms=terms, heads=2).build(8, 1, 6).double()
    query, key = (torch.randn(2, t, c, dtype=torch.float64) for t, c in ((5, 8), (4, 6)))
    assert_close(module(query, key), by_hand(module, query, key))


@every_term_set
def test_parameters_that_no_term_needs_do_not_exist(terms):
    module = AttentionSpec(terms=terms, heads=2).build(8)
    names = {name.split(".")[0] for name, _ in module.named_parameters()}
    expected = {"value", "output"}
    expected |= {"query"} if terms.use_query else set()
    expected |= {"key"} if terms.use_content else set()
    expected |= {"position"} if terms.use_position else set()
    expected |= {"key_bias"} if Term.KEY in terms else set()
    expected |= {"position_bias"} if Term.POSITION in terms else set()
    assert names == expected


@pytest.mark.parametrize(
    ("terms", "published"),
    [("1111", 328_449), ("0010", 197_121), ("0100", 262_401), ("1000", 262_401), ("0001", 197_121)],
)
def test_the_number_of_parameters_is_that_of_the_released_code_without_gamma(terms, published):
    module = AttentionSpec(terms=terms, heads=8).build(256)
    assert sum(parameter.numel() for parameter in module.parameters()) == published - 1
