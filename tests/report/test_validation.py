from quatrain.report.curves import Curve
from quatrain.report.render import to_markdown
from quatrain.report.validation import MAX_STEPS, validation_columns


def curve(name="valid_ap50", count=3, seconds=(90.0, 150.0, 3600.0)):
    steps = tuple(100 * number for number in range(1, count + 1))
    return Curve("plain", "w/o", name, steps, tuple(step / 30 for step in steps), seconds)


def test_each_validation_is_a_row_with_minutes():
    assert to_markdown(validation_columns([curve("loss"), curve()], "ap50")).splitlines()[2:] == [
        "| plain | w/o | 100 | 1.5 | 3.33 |",
        "| plain | w/o | 200 | 2.5 | 6.67 |",
        "| plain | w/o | 300 | 60.0 | 10.00 |",
    ]


def test_many_validations_are_reduced_and_the_last_is_kept():
    steps = validation_columns([curve(count=95, seconds=())], "ap50")[2].values
    assert (len(steps), steps[-1]) == (MAX_STEPS, 9500)
    assert list(steps) == sorted(set(steps))


def test_unknown_time_is_a_dash_and_a_single_validation_has_no_row():
    assert validation_columns([curve(seconds=())], "ap50")[3].texts == ("–",) * 3
    assert validation_columns([curve(count=1), curve("loss")], "ap50") == []


def test_name_of_the_validation_is_preferred():
    shown = validation_columns([curve("bleu"), curve("valid_greedy_bleu")], "bleu")
    assert (shown[-1].header, len(shown[0].texts)) == ("valid greedy BLEU", 3)
