import pytest
import torch

from quatrain.specs import DataError
from quatrain.weights.conversion import Source, convert_tensors

SOURCES = {"weight": Source("conv.weight", lambda x: x.unflatten(0, (2, 2))), "bias": Source("b")}
EXPECTED = {"weight": torch.zeros(2, 2), "bias": torch.zeros(3)}


def convert(tensors):
    return convert_tensors(tensors, SOURCES, EXPECTED, "a.pth", "a layer")


def test_tensors_are_renamed_and_converted():
    result = convert({"b": torch.ones(3), "conv.weight": torch.arange(4.0)})
    assert result["weight"].tolist() == [[0, 1], [2, 3]]
    assert result["bias"].tolist() == [1, 1, 1]


def test_tensors_that_do_not_fit_are_listed_by_their_names_in_the_file():
    with pytest.raises(DataError) as error:
        convert({"conv.weight": torch.zeros(5), "other": torch.zeros(1)})
    text = str(error.value)
    assert text.startswith("the tensors of a.pth do not fit a layer (")
    for problem in ("b is missing", "other is not in this model", "conv.weight has shape (5,)"):
        assert problem in text
    with pytest.raises(DataError, match=r"b has shape \(2,\) in the file and \(3,\)"):
        convert({"conv.weight": torch.zeros(4), "b": torch.zeros(2)})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_must_be_finite(value):
    with pytest.raises(DataError, match="b has NaN or infinite numbers"):
        convert({"conv.weight": torch.zeros(4), "b": torch.tensor([0.0, value, 0.0])})
