"""Ablations of anyone's network: a study made of three functions."""

from quatrain.ablation.ablate import Ablation, ablate

__all__ = ["Ablation", "ablate"]
