"""How metrics are called in tables and figures; data files keep the keys of the records.

title_of("bleu"), title_of("test_loss")        # "BLEU", "test loss"
"""

_TITLES = {"bleu": "BLEU", "chrf": "chrF"}


def title_of(metric: str) -> str:
    """The name that the field gives a metric, or its key with spaces."""
    return _TITLES.get(metric, metric.replace("_", " "))
