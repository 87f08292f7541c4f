import pytest
import torch
from torch import nn
from torch._higher_order_ops.while_loop import while_loop
from torch.nn.attention.flex_attention import flex_attention

from quatrain.insertion import InsertionWrapper
from quatrain.insertion.arguments import MixerArguments
from quatrain.insertion.example_pass import Signature, ancestors, run_example, signature_of
from quatrain.insertion.shapes import ActivationShape
from quatrain.specs import InputError


class Scaled(nn.Module):
    def forward(self, x, mask=None, *, scale=2.0):
        return x if mask is None else x * mask * scale


class Permuted(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(self.axes)


class FirstOutput(nn.Module):
    def forward(self, x):
        return x if isinstance(x, torch.Tensor) else x[0]


class Model(nn.Module):
    def __init__(self, *inner):
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x, scale=1):
        return self.inner(x) * scale


def recorded(*inner, shape=(2, 3, 4, 5)):
    model = Model(*inner)
    return model, run_example(model, ["inner.0"], (torch.randn(shape), 2))


def test_signature_binds_arguments_by_name_with_the_first_one_first():
    signature = signature_of(Scaled())
    assert signature.bind((1, 2), {"scale": 3}) == {"x": 1, "mask": 2, "scale": 3}
    assert list(signature.bind((), {"mask": 2, "x": 1}).items()) == [("x", 1), ("mask", 2)]
    assert Signature().bind((1, 2), {}) == {"argument 1": 1, "argument 2": 2}


def test_signature_of_a_wrapper_is_that_of_the_wrapped_module():
    module, shape = Scaled(), ActivationShape(4, 1, "channels_last")
    arguments = MixerArguments(signature_of(module))
    wrapper = InsertionWrapper(module, nn.Identity(), "after", shape, arguments)
    assert signature_of(wrapper) == signature_of(module)


@pytest.mark.parametrize(
    ("name", "value", "unset"),
    [
        ("mask", None, True),
        ("mask", False, True),
        ("scale", 2.0, True),
        ("scale", 3.0, False),
        ("scale", 2, False),
        ("mask", torch.zeros(1), False),
        ("other", "x", False),
    ],
)
def test_argument_is_unset_at_none_false_and_its_default(name, value, unset):
    assert signature_of(Scaled()).is_unset(name, value) is unset


def test_calls_of_a_place_and_its_ancestors_are_recorded_with_arguments():
    _, run = recorded(nn.Flatten(2))
    assert set(run.calls) == {"inner.0", "inner", ""}
    (call,) = run.calls["inner.0"]
    assert (call.before, call.after) == ((2, 3, 4, 5), (2, 3, 20))
    assert run.calls[""][0].arguments["scale"] == 2
    assert run.batch == 2


class Growing(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = nn.Identity()

    def forward(self, x):
        return self.part((x, x)), self.part((x,))


def test_a_tuple_is_recorded_by_its_first_value_and_its_length():
    run = run_example(nn.Sequential(nn.GRU(4, 6, batch_first=True)), ["0"], torch.ones(2, 3, 4))
    assert (run.calls["0"][0].after, run.outputs("0"), run.outputs("")) == ((2, 3, 6), 2, 2)
    run = run_example(Growing(), ["part"], torch.ones(2, 3, 4))
    with pytest.raises(InputError) as caught:
        run.outputs("part")
    assert caught.value.field == "part"


@pytest.mark.parametrize(
    ("parts", "shape", "permutes_last", "permutes_batch"),
    [
        ([Permuted(0, 2, 3, 1), nn.Identity()], (2, 3, 4, 5), True, False),
        ([Permuted(0, 1, 2, 3)], (2, 3, 4, 5), False, False),
        ([Permuted(0, -1, 1)], (2, 3, 4), True, False),
        ([Permuted(1, 0, 2)], (2, 3, 4), False, True),
        ([Permuted(0, 2, 1, 3)], (2, 3, 4, 5), False, False),
        ([Permuted(0, 1, 3, 2)], (2, 3, 4, 5), True, False),
        ([nn.Linear(5, 5)], (2, 3, 4, 5), False, False),
        ([nn.GRU(4, 4, batch_first=True), nn.Identity()], (2, 3, 4), False, False),
    ],
)
def test_permutations_are_recorded_for_the_modules_around_them(
    parts, shape, permutes_last, permutes_batch
):
    model, run = recorded(*parts, FirstOutput(), shape=shape)
    assert (model.inner in run.permuting) is permutes_last
    assert (model in run.permuting) is permutes_last
    assert run.permutes_batch is permutes_batch
    assert model.inner[-1] not in run.permuting


def test_modules_that_did_not_run_have_no_outputs():
    model = Model(nn.ReLU())
    model.unused = nn.Linear(3, 3)
    run = run_example(model, ["inner"], torch.randn(2, 3, 4))
    assert run.output_ndims == {model.inner[0]: {3}, model.inner: {3}, model: {3}}


def test_model_keeps_weights_modes_hooks_and_random_state():
    model = Model(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Dropout(0.5)).train()
    model.inner[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    run_example(model, ["inner.0"], torch.ones(2, 3, 7, 9))
    assert torch.equal(torch.get_rng_state(), state)
    assert [model.training, *(part.training for part in model.inner)] == [True, True, False, True]
    assert torch.backends.mha.get_fastpath_enabled()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


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
def test_higher_order_operators_and_compiled_functions_run(part):
    model, run = recorded(part(), nn.Identity())
    (call,) = run.calls["inner"]
    assert call.after == ((2, 4, 4, 3) if part is Branch else (2, 3, 4, 5))
    if part is not Flex:  # which permutes strides
        assert (model.inner in run.permuting) is (part is Branch)


@pytest.mark.filterwarnings("ignore")  # scripting is deprecated
def test_scripted_parts_run_without_being_recorded():
    model, run = recorded(nn.Sequential(nn.ReLU(), torch.jit.script(nn.Linear(5, 4))))
    assert run.calls["inner"][0].after == (2, 3, 4, 4)
    assert model.inner[0][1] not in run.output_ndims


def test_ancestors_end_with_the_model():
    assert ancestors("a.b.c") == ["a.b", "a", ""]
    assert ancestors("a") == [""]
