"""How metrics are called in tables and figures; data files keep the keys of the records.

title_of("bleu"), title_of("test_loss")        # "BLEU", "test loss"
"""

_LIMITS = ("", "1", "10", "50", "75", "100")
_WORDS = {"bleu": "BLEU", "chrf": "chrF", "miou": "mIoU", "iou": "IoU"}
_WORDS |= {f"{kind}{of}": f"{kind.upper()}{of}" for kind in ("ap", "ar") for of in _LIMITS}


def title_of(metric: str) -> str:
    """A metric's key in words, spelt as the field does: "valid_ap50" is "valid AP50"."""
    return " ".join(_WORDS.get(word, word) for word in metric.split("_"))
