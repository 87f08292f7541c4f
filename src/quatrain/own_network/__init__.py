"""Ablations of anyone's network: a study made of three functions."""

from quatrain.own_network.ablate import Ablation, ablate

__all__ = ["Ablation", "ablate"]
