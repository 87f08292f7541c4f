import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from laws import term_sets
from quatrain.models.translator import TranslatorSpec
from quatrain.nn import AttendedSpec, AttentionSpec, RegularConvSpec, parse_mixer
from quatrain.specs import SpecError

SOURCE = torch.tensor([[3, 4, 5, 0, 0], [6, 7, 8, 9, 2]])
TARGET = torch.tensor([[1, 5, 6, 7], [1, 7, 8, 0]])
mixers = st.none() | term_sets.map(lambda terms: AttentionSpec(terms=terms, heads=2))


def built(**fields):
    torch.manual_seed(0)
    attention = AttentionSpec(heads=2)
    small = {"width": 8, "layers": 2, "feed_forward": 12, "cross": attention}
    chosen = {**small, "encoder_self": attention, "decoder_self": attention, **fields}
    return TranslatorSpec(**chosen).build(20).double().eval()


def test_source_target_and_output_share_one_embedding():
    model = built()
    embeddings = [name for name, parameter in model.named_parameters() if 20 in parameter.shape]
    assert embeddings == ["embedding.weight"]
    hidden = model.hidden(SOURCE, TARGET)
    assert_close(model(SOURCE, TARGET), hidden @ model.embedding.weight.T)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_without_self_attention_its_sub_layers_are_absent(norm):
    without = built(encoder_self=None, decoder_self=None, norm=norm)
    names = [name for name, _ in without.named_parameters()]
    assert not any("self_attention" in name for name in names)
    assert any("cross_attention" in name for name in names)
    assert any("self_attention" in name for name, _ in built(norm=norm).named_parameters())
    assert without(SOURCE, TARGET).shape == (2, 4, 20)


@settings(max_examples=10)
@given(mixers, mixers, st.sampled_from(["pre", "post"]))
def test_padding_of_the_source_is_ignored(self_mixer, cross, norm):
    model = built(encoder_self=self_mixer, norm=norm, cross=cross or AttentionSpec(heads=2))
    alone = model(SOURCE[:1, :3], TARGET[:1])
    assert_close(model(SOURCE, TARGET)[:1], alone)


@settings(max_examples=10)
@given(mixers, st.integers(0, 2))
def test_logits_depend_on_no_later_token(self_mixer, position):
    model, changed = built(decoder_self=self_mixer), TARGET.clone()
    changed[:, position + 1 :] = 11
    before, after = model(SOURCE, TARGET), model(SOURCE, changed)
    assert torch.equal(before[:, : position + 1], after[:, : position + 1])
    assert not torch.allclose(before[:, position + 1 :], after[:, position + 1 :])


@settings(max_examples=10)
@given(mixers, mixers, st.sampled_from(["pre", "post"]))
def test_decoding_step_by_step_equals_the_full_pass(self_mixer, cross, norm):
    model = built(decoder_self=self_mixer, cross=cross or AttentionSpec(heads=2), norm=norm)
    state, outputs = model.start(SOURCE), []
    for t in range(4):
        logits, state = model.step(TARGET[:, t], state)
        outputs.append(logits)
    assert_close(torch.stack(outputs, dim=1), model(SOURCE, TARGET))


def test_step_by_step_decoding_with_windows_equals_the_full_pass():
    narrow = AttentionSpec(terms="0100", heads=2, window=3)
    model = built(decoder_self=narrow, cross=narrow)
    state, outputs = model.start(SOURCE), []
    for t in range(4):
        logits, state = model.step(TARGET[:, t], state)
        outputs.append(logits)
    assert_close(torch.stack(outputs, dim=1), model(SOURCE, TARGET))


@pytest.mark.parametrize("field", ["decoder_self", "cross"])
def test_a_decoder_with_a_key_stride_is_refused(field):
    with pytest.raises(SpecError) as caught:
        TranslatorSpec(**{field: AttentionSpec(key_stride=2)})
    assert caught.value.field == "key_stride"


@pytest.mark.parametrize(
    "mixer", [RegularConvSpec(stride=2), AttendedSpec(convolution=RegularConvSpec(stride=2))]
)
def test_a_convolution_with_a_stride_is_refused(mixer):
    with pytest.raises(SpecError) as caught:
        TranslatorSpec(encoder_self=mixer)
    assert caught.value.field == "stride"


@pytest.mark.parametrize("name", ["dynamic@5", "deformable", "0010+deformable", "regular"])
def test_step_by_step_decoding_with_convolutions_equals_the_full_pass(name):
    mixer = parse_mixer(name, heads=2)
    torch.manual_seed(0)
    spec = TranslatorSpec(
        width=16,
        layers=2,
        feed_forward=8,
        encoder_self=mixer,
        decoder_self=mixer,
        norm="pre",
    )
    model = spec.build(11).double().eval()
    source, target = torch.tensor([[3, 4, 5], [6, 7, 0]]), torch.tensor([[1, 8, 9], [1, 3, 4]])
    expected, state = model(source, target), model.start(source)
    for position in range(3):
        logits, state = model.step(target[:, position], state)
        assert_close(logits, expected[:, position])


def test_a_spec_is_equal_after_writing_and_reading_json():
    spec = TranslatorSpec(encoder_self=None, cross=AttentionSpec(terms="0100", window=31))
    assert TranslatorSpec.from_json(spec.to_json()) == spec


@pytest.mark.compile
@pytest.mark.slow
def test_it_compiles_into_one_graph_and_can_be_exported():
    torch.compiler.reset()
    mixer = AttentionSpec(terms="0110", heads=2)
    model = built(encoder_self=mixer, decoder_self=mixer)
    expected = model(SOURCE, TARGET)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_close(compiled(SOURCE, TARGET), expected)
    exported = torch.export.export(model, (SOURCE, TARGET)).module()
    assert_close(exported(SOURCE, TARGET), expected)


@pytest.mark.parametrize("terms", ["0010", "0101", "0110", "1000"])
def test_initial_parameters_of_the_same_name_do_not_depend_on_the_terms(terms):
    mixer = AttentionSpec(terms=terms, heads=2)
    other = built(encoder_self=mixer, decoder_self=None, cross=mixer).state_dict()
    full = built().state_dict()
    shared = other.keys() & full.keys()
    assert shared == other.keys()
    assert all(torch.equal(other[name], full[name]) for name in shared)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("terms", ["0000", "0010", "0101", "1111"])
def test_every_parameter_gets_a_gradient(terms, norm):
    mixer = AttentionSpec(terms=terms, heads=2)
    model = built(encoder_self=mixer, decoder_self=mixer, cross=mixer, norm=norm)
    model(SOURCE, TARGET).square().sum().backward()
    without = [name for name, value in model.named_parameters() if value.grad is None]
    assert without == []
