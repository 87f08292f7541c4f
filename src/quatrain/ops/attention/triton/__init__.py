"""Attention with relative positions on maps as GPU kernels, in Triton."""
