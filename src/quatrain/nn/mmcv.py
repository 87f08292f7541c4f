"""Weights of mmcv's GeneralizedAttention as a residual attention block.

    state = read_torch_file(path).tensors
    block = attention_from_mmcv(state, heads=8, prefix="backbone.layer3.0.gen_attention_block.")

mmcv computes the logits from positions q - k, this library from k - q: the sines change their sign.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.layers import GatedResidual
from quatrain.specs import ALL_TERM_SETS, InputError, SpecError, Term
from quatrain.weights.conversion import Source, convert_tensors

_NAMES = {
    "query_conv.weight": "query.weight",
    "key_conv.weight": "key.weight",
    "value_conv.weight": "value.weight",
    "appr_geom_fc_y.weight": "position.0.weight",
    "appr_geom_fc_x.weight": "position.1.weight",
    "appr_bias": "key_bias",
    "geom_bias": "position_bias",
    "proj_conv.weight": "output.weight",
    "proj_conv.bias": "output.bias",
}
"""Names in mmcv, and in `GeneralizedAttention`."""


def attention_from_mmcv(
    tensors: Mapping[str, Tensor],
    *,
    heads: int,
    key_stride: int = 2,
    terms: str | Term | None = None,
    exact: bool = True,
    prefix: str = "",
) -> GatedResidual:
    """X + gamma * attention(x), with the weights of an mmcv block, in their dtype.

    Args:
        tensors: tensors by name; only those whose names start with `prefix` are used.
        heads: mmcv's `num_heads`, which the tensors do not tell.
        key_stride: mmcv's `kv_stride`, which they do not tell either.
        terms: mmcv's `attention_type`; None if the names of the tensors determine it.
        exact: refuse the term sets with E2 and without E4, which mmcv computes from a transposed
            query, so that the outputs of the same weights differ.
        prefix: what the names start with.

    Raises:
        SpecError: if terms, heads or channels do not fit the tensors or each other.
        DataError: if tensors are missing, left over, or of another shape; they are listed.

    Source: `mmcv.cnn.bricks.GeneralizedAttention`, https://github.com/open-mmlab/mmcv; Zhu et al.
        2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    own = {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    value = own.get("value_conv.weight")
    if value is None or value.ndim != 4:
        text = f"tensors have no convolution {prefix}value_conv.weight"
        raise InputError(f"{text}; pass those of a GeneralizedAttention of mmcv", "tensors")
    spec = mmcv_spec(own, heads=heads, key_stride=key_stride, terms=terms, exact=exact)
    channels = value.shape[1]
    _check_heads(spec, value)
    with torch.device("meta"):
        expected = GatedResidual(spec.build(channels)).state_dict()
    file = f"the block {prefix.rstrip('.')}" if prefix else "the block"
    converted = convert_tensors(own, mmcv_sources(spec), expected, file, f"the terms {spec.terms}")
    with torch.random.fork_rng(devices=[]):
        block = GatedResidual(spec.build(channels)).to(value.dtype)
    block.load_state_dict(converted)
    return block


def mmcv_spec(
    tensors: Mapping[str, Tensor],
    *,
    heads: int,
    key_stride: int,
    terms: str | Term | None,
    exact: bool,
) -> AttentionSpec:
    """The spec of an mmcv block with these tensors, whose names are those within the block.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 8.

    Raises:
        SpecError: if the names leave several term sets and `terms` is None, if `terms` is not one
            of them, or if mmcv computes it from a transposed query.
    """
    own = tensors.keys() & _OPTIONAL
    fitting = [candidate for candidate in ALL_TERM_SETS if _parameters(candidate) == own]
    listed = " or ".join(map(str, fitting)) or "no terms"
    chosen = Term.parse(terms) if isinstance(terms, str) else terms
    if "local_constraint_map" in tensors:
        text = "the block has a local_constraint_map, the window of mmcv, which is not centred"
        raise SpecError(f"{text}; only blocks with spatial_range=-1 can be loaded", "spatial_range")
    if chosen is None and len(fitting) != 1:
        text = f"the tensors of the block fit {listed}, which have the same parameters"
        raise SpecError(f"{text}; pass terms, the attention_type of the configuration", "terms")
    chosen = fitting[0] if chosen is None else chosen
    if chosen not in fitting:
        raise SpecError(f"terms={chosen} does not fit the tensors, which fit {listed}", "terms")
    if exact and chosen.has(Term.QUERY_POSITION) and not chosen.has(Term.POSITION):
        text = f"mmcv computes terms={chosen} from a transposed query, so its outputs differ"
        raise SpecError(f"{text}; pass exact=False to load the weights nevertheless", "terms")
    return AttentionSpec(terms=chosen, heads=heads, key_stride=key_stride)


def mmcv_sources(spec: AttentionSpec) -> dict[str, Source]:
    """The source of each tensor of `GatedResidual(spec.build(channels))`, by its name.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """

    def convert(name: str) -> Source:
        if "geom_fc" in name:
            return Source(name, _negate_sines)
        if name.endswith("conv.weight"):
            return Source(name, lambda weight: weight.squeeze(-1).squeeze(-1))
        if name == "proj_conv.bias":
            return Source(name)
        return Source(name, lambda bias: bias.unflatten(0, (spec.heads, -1)))

    needed = _parameters(spec.terms) | (_NAMES.keys() - _OPTIONAL)
    sources = {f"mixer.{ours}": convert(name) for name, ours in _NAMES.items() if name in needed}
    return sources | {"gamma": Source("gamma", lambda gamma: gamma.squeeze(0))}


_OPTIONAL = frozenset(_NAMES) - {"value_conv.weight", "proj_conv.weight", "proj_conv.bias"}
"""Parameters that only some term sets have."""


def _parameters(terms: Term) -> set[str]:
    """The names of mmcv's optional parameters of a term set."""
    used = {
        "query_conv.weight": terms.use_query,
        "key_conv.weight": terms.use_content,
        "appr_geom_fc_x.weight": terms.use_position,
        "appr_geom_fc_y.weight": terms.use_position,
        "appr_bias": terms.has(Term.KEY),
        "geom_bias": terms.has(Term.POSITION),
    }
    return {name for name, present in used.items() if present}


def _negate_sines(weight: Tensor) -> Tensor:
    """Encodings are sines, then cosines; a change of the position's sign negates the sines."""
    sines, cosines = weight.chunk(2, dim=1)
    return torch.cat((-sines, cosines), dim=1)


def _check_heads(spec: AttentionSpec, value: Tensor) -> None:
    used, channels = value.shape[:2]
    if used != channels:
        text = f"the block uses {used} of {channels} channels, as heads={spec.heads} do not divide"
        raise SpecError(f"{text} them; only blocks that use all channels can be loaded", "heads")
