import torch

from quatrain.weights import describe_misfits, misfits

EXPECTED = {"a": torch.zeros(2, 3), "b": torch.zeros(4), "n": torch.tensor(0)}


def test_equal_names_shapes_and_kinds_fit():
    tensors = {"n": torch.tensor(5), "b": torch.ones(4).half(), "a": torch.ones(2, 3)}
    on_meta = {name: value.to("meta") for name, value in EXPECTED.items()}
    assert misfits(tensors, EXPECTED) == misfits(tensors, on_meta) == []


def test_each_problem_is_a_phrase():
    tensors = {"a": torch.zeros(3, 2), "c": torch.zeros(1), "n": torch.tensor(0.5)}
    assert misfits(tensors, EXPECTED) == [
        "b is missing",
        "c is not in this model",
        "a has shape (3, 2) in the file and (2, 3) in this model",
        "n has type torch.float32 in the file and torch.int64 in this model",
    ]


def test_sparse_nested_and_quantized_tensors_do_not_fit():
    others = [
        torch.zeros(4).to_sparse(),
        torch.nested.nested_tensor([torch.zeros(4)], layout=torch.jagged),
    ]
    for tensor in others:
        problems = misfits({**EXPECTED, "b": tensor}, EXPECTED)
        assert problems == ["b is sparse, nested or quantized"]


def test_a_description_lists_twenty_problems_and_counts_the_others():
    assert describe_misfits(["a", "b"]) == "a, b"
    text = describe_misfits([f"p{i}" for i in range(23)])
    assert text.endswith("p19 and 3 more")
    assert "p20" not in text
