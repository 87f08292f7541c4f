"""Titles of metrics in tables and figures; data files keep the keys of the records."""

_LIMITS = ("", "1", "10", "50", "75", "100")
_WORDS = {"bleu": "BLEU", "chrf": "chrF", "miou": "mIoU", "iou": "IoU"}
_WORDS |= {f"{kind}{of}": f"{kind.upper()}{of}" for kind in ("ap", "ar") for of in _LIMITS}


def title_of(metric: str) -> str:
    """The title of a metric's key.

    Example:
        >>> title_of("valid_ap50"), title_of("test_loss")
        ('valid AP50', 'test loss')
    """
    return " ".join(_WORDS.get(word, word) for word in metric.split("_"))
