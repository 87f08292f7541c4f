"""What a training costs on a GPU, by arithmetic, before anything was run."""

_PASSES = 3
_TERA = 50

ASSUMED = f"{_TERA} tera multiply-adds a second, a third of an NVIDIA A100's peak in bfloat16"


def training_hours(forward: float) -> float:
    """Hours on one GPU for a training whose forward passes make `forward` multiply-adds in all.

    Forward and backward count as three forward passes; the assumed speed is `ASSUMED`.

    Example:
        >>> round(training_hours(60e15), 6)
        1.0
    """
    return _PASSES * forward / (_TERA * 1e12) / 3600
