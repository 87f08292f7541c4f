import pytest

from quatrain.specs import Spec, StudyError
from quatrain.study import Cell, Expectation, expected_cells


class Steps(Spec):
    steps: int

    def open(self, data, folder, seed):
        raise NotImplementedError


SPECS = {"a": Steps(steps=1), "b c": Steps(steps=2), "d": Steps(steps=3)}
HIGH, LOW = ("d", {"low": 95.0}, "it can"), ("b c|a", {"high": 25.0}, "they cannot")


def test_each_cell_has_the_prediction_that_names_it_in_the_order_of_the_specs():
    cannot = Expectation(high=25.0, because="they cannot")
    assert expected_cells("probe", SPECS, [HIGH, LOW]) == [
        Cell(name="a", group="probe", spec=SPECS["a"], expected=cannot),
        Cell(name="b c", group="probe", spec=SPECS["b c"], expected=cannot),
        Cell(
            name="d",
            group="probe",
            spec=SPECS["d"],
            expected=Expectation(low=95.0, because="it can"),
        ),
    ]


@pytest.mark.parametrize(
    ("predictions", "text"),
    [
        ([LOW], 'group="probe" do not name d; add a prediction'),
        ([HIGH, LOW, ("a", {"low": 1.0}, "again")], "name 'a' twice"),
        ([HIGH, LOW, ("e", {"low": 1.0}, "no cell")], "name 'e', which is no cell; use a, b c, d"),
    ],
)
def test_predictions_that_do_not_fit_the_cells_are_refused(predictions, text):
    with pytest.raises(StudyError, match=text) as caught:
        expected_cells("probe", SPECS, predictions)
    assert caught.value.field == "predictions"
