from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from quatrain.nn import GeneralizedAttention
from quatrain.nn.mmcv import attention_from_mmcv
from quatrain.specs import DataError, InputError, SpecError

STORED = load_file(Path(__file__).parents[1] / "data" / "mmcv_attention.safetensors")
WEIGHTS = {
    name.removeprefix("weights/"): value
    for name, value in STORED.items()
    if name.startswith("weights/")
}
CASES = [name.split("/")[1:] for name in STORED if name.startswith("output/")]
BY_TERM = {
    "query_conv.weight": "11..",
    "key_conv.weight": "1.1.",
    "appr_geom_fc_x.weight": ".1.1",
    "appr_geom_fc_y.weight": ".1.1",
    "appr_bias": "..1.",
    "geom_bias": "...1",
}


def block_of(terms):
    """The tensors that an mmcv block with these terms has."""
    unused = {
        name
        for name, digits in BY_TERM.items()
        if not any(a == b == "1" for a, b in zip(terms, digits, strict=True))
    }
    return {name: value for name, value in WEIGHTS.items() if name not in unused}


def test_the_stored_outputs_are_of_all_sets_that_mmcv_computes_rightly():
    wrong = {"0100", "0110", "1100", "1110"}
    expected = {(f"{bits:04b}", "2") for bits in range(16)} | {("1111", "1"), ("1111", "3")}
    assert {tuple(case) for case in CASES} == {case for case in expected if case[0] not in wrong}


@pytest.mark.parametrize(("terms", "stride"), CASES)
@torch.no_grad()
def test_outputs_are_those_of_mmcv(terms, stride):
    block = attention_from_mmcv(block_of(terms), heads=4, key_stride=int(stride), terms=terms)
    output = block(STORED["input"])
    assert output.dtype == torch.float64
    assert_close(output, STORED[f"output/{terms}/{stride}"], rtol=0, atol=1e-10)
    assert float((output - STORED["input"]).abs().max()) > 0.1
    single = attention_from_mmcv(
        {name: value.float() for name, value in block_of(terms).items()},
        heads=4,
        key_stride=int(stride),
        terms=terms,
    )
    expected = STORED[f"output/{terms}/{stride}"].float()
    assert_close(single(STORED["input"].float()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("terms", ["0000", "0001", "0010", "0011", "1000", "1010", "0101"])
def test_terms_follow_from_the_names_where_they_are_unique(terms):
    mixer = attention_from_mmcv(block_of(terms), heads=4).mixer
    assert isinstance(mixer, GeneralizedAttention)
    assert str(mixer.spec.terms) == terms
    assert mixer.spec.key_stride == 2


@pytest.mark.parametrize(
    ("terms", "fitting"),
    [("1111", "0111 or 1011 or 1111"), ("1001", "1001 or 1101"), ("1110", "0110 or 1110")],
)
def test_terms_are_needed_where_several_sets_have_the_same_parameters(terms, fitting):
    with pytest.raises(SpecError, match=fitting) as error:
        attention_from_mmcv(block_of(terms), heads=4)
    assert error.value.field == "terms"
    with pytest.raises(SpecError, match=fitting):
        attention_from_mmcv(block_of(terms), heads=4, terms="0000")


@pytest.mark.parametrize("terms", ["0100", "0110", "1100", "1110"])
def test_sets_that_mmcv_computes_from_a_transposed_query_are_refused(terms):
    with pytest.raises(SpecError, match=f"terms={terms} from a transposed query"):
        attention_from_mmcv(block_of(terms), heads=4, terms=terms)
    block = attention_from_mmcv(block_of(terms), heads=4, terms=terms, exact=False)
    assert str(block.mixer.spec.terms) == terms


def test_a_prefix_selects_one_block_of_a_network():
    state = {f"layer3.0.{name}": value for name, value in block_of("0010").items()}
    block = attention_from_mmcv(state | {"other": torch.zeros(1)}, heads=4, prefix="layer3.0.")
    assert torch.equal(block.mixer.output.bias, WEIGHTS["proj_conv.bias"])
    with pytest.raises(InputError, match=r"layer3\.1\.value_conv"):
        attention_from_mmcv(state, heads=4, prefix="layer3.1.")


def test_the_random_state_is_kept():
    before = torch.get_rng_state()
    attention_from_mmcv(block_of("1011"), heads=4, terms="1011")
    assert torch.equal(torch.get_rng_state(), before)


def test_tensors_that_do_not_fit_are_listed():
    state = block_of("1000") | {"norm.weight": torch.zeros(3)}
    del state["proj_conv.bias"]
    state["gamma"] = torch.full((1,), float("nan"))
    state["proj_conv.weight"] = torch.zeros(16, 8, 1, 1)
    with pytest.raises(DataError) as error:
        attention_from_mmcv(state, heads=4)
    for problem in (
        "proj_conv.bias is missing",
        "norm.weight is not in this model",
        "gamma has NaN",
        "proj_conv.weight has shape (16, 8) in the file and (16, 16) in this model",
    ):
        assert problem in str(error.value)


def test_windows_and_unused_channels_are_refused():
    with pytest.raises(SpecError, match="local_constraint_map"):
        attention_from_mmcv(block_of("0010") | {"local_constraint_map": torch.zeros(1)}, heads=4)
    narrow = block_of("0010") | {"value_conv.weight": torch.zeros(15, 16, 1, 1)}
    with pytest.raises(SpecError, match="15 of 16 channels"):
        attention_from_mmcv(narrow, heads=4)
    with pytest.raises(SpecError, match="heads=3"):
        attention_from_mmcv(block_of("0010"), heads=3)


def test_positions_of_another_width_are_listed():
    state = block_of("0001") | {"appr_geom_fc_x.weight": torch.zeros(16, 4)}
    with pytest.raises(DataError, match=r"appr_geom_fc_x\.weight has shape \(16, 4\)"):
        attention_from_mmcv(state, heads=4)
