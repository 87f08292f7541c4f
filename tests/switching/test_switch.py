import copy
import io

import pytest
import torch
from torch import nn

from laws import METHOD_TERMS
from quatrain import insert, parse_mixer
from quatrain.models.decoding import DecodingSpec, decode
from quatrain.models.detector import DetectorSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.models.translator import TranslatorSpec
from quatrain.nn import Attended, AttendedSpec, AttentionSpec, GeneralizedAttention, capture
from quatrain.nn.convolution import RegularConvSpec
from quatrain.ops.attention import plan
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure
from quatrain.specs import ALL_TERM_SETS, InputError, SpecError, Term
from quatrain.switching.switch import attentions_in, switch

FULL = Term.parse("1111")
every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)


def built(terms=FULL, ndim=1, **fields):
    torch.manual_seed(0)
    spec = AttentionSpec(terms=terms, heads=2, **fields)
    return spec.build(8, ndim, dtype=torch.float64)


def reduced(module, terms):
    """A module that is built with fewer terms, with the same weights."""
    terms &= module.spec.terms
    without = {} if terms.has(Term.QUERY_KEY) else {"rotary": None, "qk_norm": False}
    if not terms.has(Term.POSITION):
        without |= {"position": None}
    spec = module.spec.model_copy(update={"terms": terms, **without})
    smaller = spec.build(module.channels, module.ndim, dtype=torch.float64)
    weights = module.state_dict()
    smaller.load_state_dict({name: weights[name] for name in smaller.state_dict()})
    smaller.method = module.method
    return smaller


def content(ndim, seed=1):
    shape = (2, 5, 8) if ndim == 1 else (2, 8, 3, 4)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def outcome(module, call):
    """The output of a call, and the gradients of the input and of all weights."""
    module.zero_grad(set_to_none=True)
    x = content(module.ndim).requires_grad_()
    y = call(module, x)
    (y * content(module.ndim, seed=2)[: len(y)]).sum().backward()
    gradients = {name: weight.grad for name, weight in module.named_parameters()}
    return y.detach(), x.grad, gradients


def check_equal(module, terms, call):
    """Check that a switched module is the smaller one, equal to the bit."""
    expected, grad_x, grads = outcome(reduced(module, terms), call)
    with switch(module, terms):
        y, switched_grad_x, switched_grads = outcome(module, call)
    assert torch.equal(y, expected)
    assert torch.equal(switched_grad_x, grad_x)
    for name, gradient in switched_grads.items():
        if name in grads:
            assert torch.equal(gradient, grads[name]), name
        else:
            assert gradient is None, name


@every_term_set
@pytest.mark.parametrize("ndim", [1, 2])
def test_a_switched_module_is_the_module_built_with_the_common_terms(terms, ndim):
    module = built(terms, ndim)
    for other in ALL_TERM_SETS:
        check_equal(module, other, lambda attention, x: attention(x))


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("position", [None, "table", "cpb"])
def test_without_e1_and_e4_a_module_with_extensions_is_the_one_without_theirs(ndim, position):
    fields = {"rotary": "axial", "qk_norm": True, "gate": True, "null_key": True, "window": 3}
    module = built(FULL, ndim, position=position, **fields)
    for other in ALL_TERM_SETS:
        check_equal(module, other, lambda attention, x: attention(x))


PADDING = torch.tensor([[False] * 5, [False, False, True, False, True]])
MAP_PADDING = torch.zeros(2, 12, dtype=torch.bool).index_fill(
    1, torch.tensor([2, 7, 8]), value=True
)
PAIRS = torch.rand(5, 5, generator=torch.Generator().manual_seed(3)) > 0.4
CALLS = {
    "plain": (1, {}, {}),
    "window": (1, {"window": 3}, {}),
    "causal": (1, {}, {"causal": True}),
    "causal window": (1, {"window": 3}, {"causal": True}),
    "padding": (1, {}, {"key_padding_mask": PADDING}),
    "pairs": (1, {}, {"attend_mask": PAIRS}),
    "stride": (1, {"key_stride": 2}, {"key_padding_mask": PADDING}),
    "map": (2, {}, {}),
    "map window": (2, {"window": 3}, {}),
    "map padding": (2, {}, {"key_padding_mask": MAP_PADDING}),
    "map stride": (2, {"key_stride": 2, "window": 3}, {"key_padding_mask": MAP_PADDING}),
}


@pytest.mark.parametrize("name", CALLS)
@every_term_set
def test_windows_masks_causality_and_strides_are_those_of_the_smaller_module(terms, name):
    ndim, fields, arguments = CALLS[name]
    check_equal(built(ndim=ndim, **fields), terms, lambda module, x: module(x, **arguments))


@pytest.mark.parametrize("method", ["reference", "pooled", "separable", "factored", "fused"])
@pytest.mark.parametrize("ndim", [1, 2])
@every_term_set
def test_every_method_that_applies_to_the_smaller_set_is_used(terms, ndim, method):
    module = built(ndim=ndim)
    try:
        reduced(module, terms)(content(ndim), method=method)
    except SpecError:
        with switch(module, terms), pytest.raises(SpecError):
            module(content(ndim), method=method)
    else:
        check_equal(module, terms, lambda attention, x: attention(x, method=method))


@pytest.mark.parametrize("terms", METHOD_TERMS, ids=str)
def test_a_switched_set_takes_the_method_of_its_own(terms, monkeypatch):
    chosen = []

    def recorded(*arguments, **options):
        chosen.append(plan(*arguments, **options))
        return chosen[-1]

    monkeypatch.setattr("quatrain.ops.attention.plan", recorded)
    x = torch.randn(1, 8, 24, 24)
    module = built(ndim=2).float()
    switch(module, terms)
    module(x)
    grid = Grid((24, 24), (24, 24))
    assert chosen == [plan(terms, grid, Structure(), widths=(4, 4))]


@every_term_set
@pytest.mark.parametrize("window", [None, 3])
def test_step_by_step_decoding_is_that_of_the_smaller_module(terms, window):
    module, x = built(window=window), content(1)
    smaller, states = reduced(module, terms), [None, None]
    with switch(module, terms):
        for position in range(5):
            token = x[:, position : position + 1]
            expected, states[0] = smaller.step(token, states[0])
            y, states[1] = module.step(token, states[1])
            assert torch.equal(y, expected)
        assert type(states[0]) is type(states[1])
        y, state = module.attend_cached(x[:, :1], module.cache_keys(x), 2), smaller.cache_keys(x)
        assert torch.equal(y, smaller.attend_cached(x[:, :1], state, 2))


@pytest.mark.parametrize(
    ("before", "after"),
    [("0010", "1111"), ("0010", "0000"), ("0100", "1000"), ("1111", "0010"), ("0001", "0011")],
)
def test_a_state_that_lacks_what_the_terms_need_is_refused(before, after):
    module, x = built(), content(1)
    with switch(module, before):
        _, state = module.step(x[:, :1], None)
    with switch(module, after), pytest.raises(InputError, match="start decoding again") as raised:
        module.step(x[:, 1:2], state)
    assert raised.value.field == "state"


def test_cached_keys_of_more_terms_are_used_for_fewer():
    module, x = built(), content(1)
    state = module.cache_keys(x)
    with switch(module, "0001"):
        fewer = module.cache_keys(x)
        expected = module.attend_cached(x[:, :1], fewer, 0)
        assert torch.equal(module.attend_cached(x[:, :1], state, 0), expected)
    with pytest.raises(InputError, match="start decoding again"):
        module.attend_cached(x[:, :1], fewer, 0)


SOURCE = torch.tensor([[3, 4, 5, 0], [6, 7, 8, 9]])
TARGET = torch.tensor([[1, 5, 6], [1, 7, 8]])


def translator(terms=FULL):
    torch.manual_seed(0)
    mixer = AttentionSpec(terms=terms, heads=2)
    attended = AttendedSpec(convolution=RegularConvSpec(), attention=mixer)
    choices = {"encoder_self": mixer, "decoder_self": attended, "cross": mixer}
    return TranslatorSpec(width=8, layers=2, feed_forward=12, **choices).build(20).eval()


@every_term_set
def test_every_attention_of_a_translator_is_switched_and_decodes_as_the_smaller_one(terms):
    model, smaller = translator(), translator(terms)
    weights = model.state_dict()
    smaller.load_state_dict({name: weights[name] for name in smaller.state_dict()})
    search = DecodingSpec(beam=2, longest=5)
    with switch(model, terms) as switched:
        assert len(switched.terms) == 6
        assert set(switched.terms.values()) == {terms}
        assert torch.equal(model(SOURCE, TARGET), smaller(SOURCE, TARGET))
        assert decode(model, SOURCE, search, 1, 2) == decode(smaller, SOURCE, search, 1, 2)
    assert {part.terms for part in attentions_in(model).values()} == {FULL}


def test_inserted_mixers_and_combinations_are_switched():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    x = torch.randn(1, 3, 6, 6)
    insert(model, parse_mixer("1111", heads=2), after="0", example=x)
    model.append(Attended(8, attention=AttentionSpec(terms="0110", heads=2)))
    with switch(model, "1010") as switched:
        assert [str(terms) for terms in switched.terms.values()] == ["1010", "0010"]


def test_mixers_of_a_detector_are_switched():
    backbone = ResNetSpec(depth=18, width=8, norm="group", mixer=parse_mixer("1111", heads=2))
    detector = DetectorSpec(backbone=backbone, channels=16, head_channels=16).build(classes=2)
    with switch(detector, "0100", at="**.layer4") as switched:
        assert {str(terms) for terms in switched.terms.values()} == {"0100"}
    assert len(switch(detector, "1111").terms) > len(switched.terms) > 0


def test_a_glob_switches_the_modules_that_match_and_those_in_them():
    model = translator()
    assert set(switch(model, "0000", at="encoder").terms) == {
        "encoder.0.self_attention.mixer",
        "encoder.1.self_attention.mixer",
    }
    assert list(switch(model, "0000", at="decoder.1.cross*.mixer").terms) == [
        "decoder.1.cross_attention.mixer"
    ]
    assert list(switch(model, "0000", at="**.attention").terms) == [
        "decoder.0.self_attention.mixer.attention",
        "decoder.1.self_attention.mixer.attention",
    ]


def test_nested_blocks_and_exceptions_restore_what_was_on_before():
    module = built("1011")
    with switch(module, "1010"):
        with switch(module, "0111"):
            assert str(module.terms) == "0011"
        assert str(module.terms) == "1010"
        with pytest.raises(InputError), switch(module, "0111"):
            module(content(2))
        assert str(module.terms) == "1010"
    assert str(module.terms) == "1011"


def test_a_call_stays_until_it_is_restored_or_switched_again():
    module = built()
    switched = switch(module, Term.KEY)
    assert module.terms == Term.KEY
    assert "switched to 0010" in repr(module)
    switched.restore()
    assert module.terms == FULL
    assert "switched" not in repr(module)
    switch(module, "0100")
    switch(module, "1111")
    assert module.terms == FULL


def test_weights_copies_and_files_of_a_switched_module():
    module = built()
    names = list(module.state_dict())
    with switch(module, "0010"):
        copied = copy.deepcopy(module)
        file = io.BytesIO()
        torch.save(module, file)
        assert list(module.state_dict()) == names
        module.load_state_dict(module.state_dict())
        with torch.no_grad():
            module.value.weight.add_(1)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert (copied.terms, loaded.terms, module.terms) == (Term.KEY, Term.KEY, FULL)
    switch(copied, "1111")
    assert copied.terms == FULL


def test_a_module_of_an_older_pickle_has_all_terms_on():
    module = built("0110")
    del vars(module)["_terms_on"]
    assert str(module.terms) == "0110"
    with switch(module, "0100"):
        assert str(module.terms) == "0100"


def test_captured_explanations_are_of_the_terms_that_are_on():
    model = translator()
    with switch(model, "0110"), capture(model) as explanations:
        model(SOURCE, TARGET)
    for calls in explanations.values():
        assert list(calls[0].logits) == [Term.QUERY_POSITION, Term.KEY]


@pytest.mark.compile
def test_a_compiled_model_recompiles_for_each_set():
    torch.compiler.reset()
    module = built(ndim=2)
    compiled = torch.compile(module, backend="aot_eager")
    x = content(2)
    for terms in ("1111", "0110", "0000", "1111"):
        with switch(compiled, terms) as switched:
            assert list(switched.terms) == ["_orig_mod"]
            assert torch.allclose(compiled(x), module(x), atol=1e-12)
            assert torch.allclose(compiled(x), reduced(module, Term.parse(terms))(x), atol=1e-12)


def test_an_exported_graph_keeps_the_terms_of_its_export():
    module, x = built(), content(1)
    with switch(module, "0011"):
        exported = torch.export.export(module, (x,))
        expected = module(x)
    torch.testing.assert_close(exported.module()(x), expected)


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.Sequential(nn.ReLU())])
def test_a_model_without_attention_is_refused(model):
    with pytest.raises(InputError, match="contains no GeneralizedAttention") as raised:
        switch(model, "0110")
    assert raised.value.field == "model"


@pytest.mark.parametrize(
    ("at", "message"),
    [("embedding", "matches no attention; use encoder.0"), ("encode", "did|use encoder")],
)
def test_a_glob_without_attention_is_refused(at, message):
    model = translator()
    with pytest.raises(InputError, match=message):
        switch(model, "0110", at=at)


@pytest.mark.parametrize("terms", ["011", "query", "0120"])
def test_a_text_that_is_no_term_set_changes_nothing(terms):
    module = built()
    with pytest.raises(SpecError, match="four digits"):
        switch(module, terms)
    assert module.terms == FULL


def test_a_shared_module_is_switched_once_and_restored():
    shared = GeneralizedAttention(8, terms="1111", heads=2, ndim=1)
    model = nn.Sequential(shared, shared)
    with switch(model, "0001") as switched:
        assert list(switched.terms) == ["0"]
    assert shared.terms == FULL
