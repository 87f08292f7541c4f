"""Attention in four terms: build spatial attention from its factors, and study each one.

The names below are imported when they are first used, so `import quatrain` does not import torch.

Example:
    >>> attention = quatrain.AttentionSpec(terms="0110", heads=8).build(channels=256)
    >>> quatrain.insert(model, quatrain.parse_mixer("0010"), after="layer3.*.conv2", example=x)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quatrain.ablation import Ablation, ablate
    from quatrain.cost import count_multiply_adds
    from quatrain.figures import (
        plot_alignment,
        plot_attention_map,
        plot_offsets,
        plot_position_profile,
        plot_term_shares,
    )
    from quatrain.insertion import FrozenFeatures, find, insert, remove, replace
    from quatrain.models.mmdetection import load_mmdet, load_mmdet_backbone
    from quatrain.nn import (
        Attended,
        AttendedSpec,
        AttentionSpec,
        DCNv3,
        DCNv3Spec,
        DCNv4,
        DCNv4Spec,
        DeformableAttention,
        DeformableAttentionSpec,
        DeformableConv,
        DeformableConvSpec,
        DynamicConv,
        DynamicConvSpec,
        GeneralizedAttention,
        LightweightConv,
        LightweightConvSpec,
        Mixer,
        MultiScaleDeformableAttention,
        MultiScaleDeformableAttentionSpec,
        RegularConv,
        RegularConvSpec,
        attention_from_mmcv,
        capture,
        capture_offsets,
        param_groups,
        parse_mixer,
    )
    from quatrain.ops.attention.plan import plan
    from quatrain.results.answers import Answer, answer
    from quatrain.results.fit import Estimate, Fit, fit
    from quatrain.specs import (
        DataError,
        InputError,
        MissingPackageError,
        QuatrainError,
        Spec,
        SpecError,
        StoredFileError,
        StudyError,
        Term,
        Terms,
    )
    from quatrain.study import Cell, Comparison, Study
    from quatrain.switching import (
        draw_terms,
        knockout,
        one_shot,
        sampled_terms,
        switch,
        term_shares,
    )

__version__ = "0.2.0"

__all__ = [
    "Ablation",
    "Answer",
    "Attended",
    "AttendedSpec",
    "AttentionSpec",
    "Cell",
    "Comparison",
    "DCNv3",
    "DCNv3Spec",
    "DCNv4",
    "DCNv4Spec",
    "DataError",
    "DeformableAttention",
    "DeformableAttentionSpec",
    "DeformableConv",
    "DeformableConvSpec",
    "DynamicConv",
    "DynamicConvSpec",
    "Estimate",
    "Fit",
    "FrozenFeatures",
    "GeneralizedAttention",
    "InputError",
    "LightweightConv",
    "LightweightConvSpec",
    "MissingPackageError",
    "Mixer",
    "MultiScaleDeformableAttention",
    "MultiScaleDeformableAttentionSpec",
    "QuatrainError",
    "RegularConv",
    "RegularConvSpec",
    "Spec",
    "SpecError",
    "StoredFileError",
    "Study",
    "StudyError",
    "Term",
    "Terms",
    "__version__",
    "ablate",
    "answer",
    "attention_from_mmcv",
    "capture",
    "capture_offsets",
    "count_multiply_adds",
    "draw_terms",
    "find",
    "fit",
    "insert",
    "knockout",
    "load_mmdet",
    "load_mmdet_backbone",
    "one_shot",
    "param_groups",
    "parse_mixer",
    "plan",
    "plot_alignment",
    "plot_attention_map",
    "plot_offsets",
    "plot_position_profile",
    "plot_term_shares",
    "remove",
    "replace",
    "sampled_terms",
    "switch",
    "term_shares",
]

_PACKAGES = {
    "quatrain.ablation": "Ablation ablate",
    "quatrain.cost": "count_multiply_adds",
    "quatrain.figures": "plot_alignment plot_attention_map plot_offsets plot_position_profile "
    "plot_term_shares",
    "quatrain.insertion": "FrozenFeatures find insert remove replace",
    "quatrain.models.mmdetection": "load_mmdet load_mmdet_backbone",
    "quatrain.ops.attention.plan": "plan",
    "quatrain.results.answers": "Answer answer",
    "quatrain.results.fit": "Estimate Fit fit",
    "quatrain.specs": "DataError InputError MissingPackageError QuatrainError Spec SpecError "
    "StoredFileError StudyError Term Terms",
    "quatrain.study": "Cell Comparison Study",
    "quatrain.switching": "draw_terms knockout one_shot sampled_terms switch term_shares",
}
"""The package of each name; names that are not listed are in `quatrain.nn`."""


def __getattr__(name: str) -> object:
    """Import a public name from its package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from quatrain.specs import name_missing_extra

    homes = (package for package, names in _PACKAGES.items() if name in names.split())
    with name_missing_extra():
        value = getattr(import_module(next(homes, "quatrain.nn")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
