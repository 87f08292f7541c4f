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
def test_title_is_the_usual_name_of_the_metric(metric, title):
    assert title_of(metric) == title
