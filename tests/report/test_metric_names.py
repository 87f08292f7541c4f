import pytest

from quatrain.report.metric_names import title_of


@pytest.mark.parametrize(
    ("metric", "title"),
    [
        ("bleu", "BLEU"),
        ("chrf", "chrF"),
        ("test_loss", "test loss"),
        ("miou", "mIoU"),
        ("iou_background", "IoU background"),
        ("valid_ap50", "valid AP50"),
        ("ap_of_fish", "AP of fish"),
        ("ar100", "AR100"),
    ],
)
def test_a_metric_has_the_name_that_the_field_gives_it(metric, title):
    assert title_of(metric) == title
