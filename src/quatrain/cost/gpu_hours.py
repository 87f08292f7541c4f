"""Estimate the GPU hours of a training from its multiply-adds."""

_PASSES = 3
_TERA = 50

ASSUMED = f"{_TERA} tera multiply-adds a second, a third of an NVIDIA A100's peak in bfloat16"


def training_hours(forward: float) -> float:
    """Hours on one GPU for a training whose forward passes have `forward` multiply-adds in all.

    Forward and backward together cost three forward passes, at the speed of `ASSUMED`.

    Example:
        >>> round(training_hours(60e15), 6)
        1.0
    """
    return _PASSES * forward / (_TERA * 1e12) / 3600
