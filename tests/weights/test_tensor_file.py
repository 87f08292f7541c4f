import hashlib
import os

import pytest
import torch
from safetensors import safe_open

from quatrain.specs import InputError, StudyError
from quatrain.weights.tensor_file import read_tensors, write_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b/c": torch.tensor(7, dtype=torch.int64)}
TEXTS = {"one": '{"sha256":"%s"}' % ("0" * 64), "two": "ä\n"}


def test_tensors_and_texts_are_restored(tmp_path):
    path = tmp_path / "new" / "a.safetensors"
    write_tensors(path, TENSORS, TEXTS)
    tensors, texts = read_tensors(path)
    assert texts == TEXTS
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert [each.name for each in path.parent.iterdir()] == ["a.safetensors"]


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {})
    with safe_open(path, framework="pt") as file:
        stored = file.metadata()["sha256"]
    blanked = path.read_bytes().replace(stored.encode(), b"0" * 64)
    assert hashlib.sha256(blanked).hexdigest() == stored


def test_a_tensor_may_have_the_name_of_the_checksum(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"sha256": torch.ones(2)}, {})
    assert read_tensors(path)[0]["sha256"].tolist() == [1, 1]


def test_a_wrong_or_damaged_checksum_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {})
    whole = path.read_bytes()
    at = whole.index(b'"sha256":"') + len(b'"sha256":"')
    path.write_bytes(whole[:at] + b"0" * 64 + whole[at + 64 :])
    with pytest.raises(ValueError, match="does not match"):
        read_tensors(path)
    path.write_bytes(whole[:at] + b"G" * 64 + whole[at + 64 :])
    with pytest.raises(ValueError, match="damaged"):
        read_tensors(path)


@pytest.mark.timeout(30)
def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="regular file"):
        read_tensors(tmp_path / "a.safetensors")


def test_the_format_version_is_stored_and_not_returned(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {"format": "pt"})
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["checkpoint_format"] == "1"
    assert read_tensors(path)[1] == {"format": "pt"}


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(StudyError, match="folder"):
        write_tensors(tmp_path / "folder" / "a.safetensors", TENSORS, {})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.ones(2, device="meta"), "a has no values"),
        (torch.ones(2).to_sparse(), "a is sparse"),
        ("scale", "a is a str"),
    ],
)
def test_values_that_cannot_be_stored_are_named(tmp_path, value, text):
    with pytest.raises(InputError, match=text):
        write_tensors(tmp_path / "a.safetensors", {"a": value}, {})
    assert list(tmp_path.iterdir()) == []
