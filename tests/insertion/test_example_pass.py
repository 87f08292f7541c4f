import pytest
import torch
from torch import nn
from torch._higher_order_ops.while_loop import while_loop
from torch.nn.attention.flex_attention import flex_attention

from quatrain.insertion import find
from quatrain.insertion.example_pass import holders, run_example


class Moved(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(self.axes)


class Model(nn.Module):
    def __init__(self, *inner):
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x, scale=1):
        return self.inner(x) * scale


def seen(*inner, shape=(2, 3, 4, 5)):
    model = Model(*inner)
    return model, run_example(model, find(model, "inner.0"), (torch.randn(shape), 2))


def test_calls_of_a_place_and_of_what_holds_it_are_noted_with_their_arguments():
    _, found = seen(nn.Flatten(2))
    assert set(found.calls) == {"inner.0", "inner", ""}
    (call,) = found.calls["inner.0"]
    assert (call.before, call.after) == ((2, 3, 4, 5), (2, 3, 20))
    assert found.calls[""][0].arguments["scale"] == 2
    assert found.axes.batch == 2


@pytest.mark.parametrize(
    ("parts", "shape", "permuted", "of_order"),
    [
        ([Moved(0, 2, 3, 1), nn.Identity()], (2, 3, 4, 5), True, False),
        ([Moved(0, 1, 2, 3)], (2, 3, 4, 5), False, False),
        ([Moved(0, -1, 1)], (2, 3, 4), True, False),
        ([Moved(1, 0, 2)], (2, 3, 4), False, True),
        ([Moved(0, 2, 1, 3)], (2, 3, 4, 5), False, False),
        ([Moved(0, 1, 3, 2)], (2, 3, 4, 5), True, False),
        ([nn.Linear(5, 5)], (2, 3, 4, 5), False, False),
        ([nn.GRU(4, 4, batch_first=True), nn.Identity()], (2, 3, 4), False, False),
    ],
)
def test_axes_count_as_permuted_where_a_module_gives_them_in_another_order(
    parts, shape, permuted, of_order
):
    class First(nn.Module):  # of what gives more than a tensor
        def forward(self, x):
            return x if isinstance(x, torch.Tensor) else x[0]

    model, found = seen(*parts, First(), shape=shape)
    assert (model.inner in found.axes.permuted_in) is permuted
    assert (model in found.axes.permuted_in) is permuted
    assert found.axes.order_permuted is of_order
    assert model.inner[-1] not in found.axes.permuted_in


def test_only_modules_that_ran_gave_anything():
    model = Model(nn.ReLU())
    model.unused = nn.Linear(3, 3)
    found = run_example(model, find(model, "inner"), torch.randn(2, 3, 4))
    assert found.axes.output_ndims == {model.inner[0]: {3}, model.inner: {3}, model: {3}}


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, x):
        return torch.cond(
            x.sum() < torch.inf,
            lambda x: self.layer(x).permute(0, 2, 3, 1),
            lambda x: self.layer(x).permute(0, 2, 3, 1),
            (x,),
        )


class Flex(nn.Module):
    def forward(self, x):
        return flex_attention(x, x, x)


class Loop(nn.Module):
    def forward(self, x):
        first = torch.zeros((), dtype=torch.long)
        return while_loop(lambda n, _: n < 3, lambda n, x: (n + 1, x * 2), (first, x))[1]


class Compiled(nn.Module):
    def forward(self, x):
        return torch.compile(torch.sin, fullgraph=True, backend="eager")(x)


@pytest.mark.parametrize("part", [Branch, Flex, Loop, Compiled])
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_operators_of_functions_and_compiled_functions_run(part):
    model, found = seen(part(), nn.Identity())
    (call,) = found.calls["inner"]
    assert call.after == ((2, 4, 4, 3) if part is Branch else (2, 3, 4, 5))
    if part is not Flex:  # it permutes strides
        assert (model.inner in found.axes.permuted_in) is (part is Branch)


@pytest.mark.filterwarnings("ignore")  # scripting is deprecated
def test_scripted_parts_run_without_being_watched():
    model, found = seen(nn.Sequential(nn.ReLU(), torch.jit.script(nn.Linear(5, 4))))
    assert found.calls["inner"][0].after == (2, 3, 4, 4)
    assert model.inner[0][1] not in found.axes.output_ndims


def test_the_holders_of_a_place_end_with_the_model():
    assert holders("a.b.c") == ["a.b", "a", ""]
    assert holders("a") == [""]
