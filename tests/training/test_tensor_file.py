import hashlib
import os

import pytest
import torch
from safetensors import safe_open

from quatrain.specs import StudyError
from quatrain.training.tensor_file import read_tensors, write_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b/c": torch.tensor(7, dtype=torch.int64)}
TEXTS = {"one": '{"sha256":"%s"}' % ("0" * 64), "two": "ä\n"}


def test_tensors_and_texts_come_back(tmp_path):
    path = tmp_path / "new" / "a.safetensors"
    write_tensors(path, TENSORS, TEXTS)
    tensors, texts = read_tensors(path)
    assert texts == TEXTS
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert [each.name for each in path.parent.iterdir()] == ["a.safetensors"]


def test_anybody_can_check_the_checksum(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {})
    with safe_open(path, framework="pt") as file:
        stored = file.metadata()["sha256"]
    blanked = path.read_bytes().replace(stored.encode(), b"0" * 64)
    assert hashlib.sha256(blanked).hexdigest() == stored


def test_a_tensor_called_as_the_checksum_does_not_take_its_place(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"sha256": torch.ones(2)}, {})
    assert read_tensors(path)[0]["sha256"].tolist() == [1, 1]


def test_another_checksum_and_none_that_can_be_read_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {})
    whole = path.read_bytes()
    at = whole.index(b'"sha256":"') + len(b'"sha256":"')
    path.write_bytes(whole[:at] + b"0" * 64 + whole[at + 64 :])
    with pytest.raises(ValueError, match="its content is not that of its checksum"):
        read_tensors(path)
    path.write_bytes(whole[:at] + b"G" * 64 + whole[at + 64 :])
    with pytest.raises(ValueError, match="its checksum is damaged"):
        read_tensors(path)


@pytest.mark.timeout(30)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="it is no regular file"):
        read_tensors(tmp_path / "a.safetensors")


def test_the_format_is_kept_among_the_texts_of_the_file_and_is_none_of_the_callers(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {"format": "pt"})
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["checkpoint_format"] == "1"
    assert read_tensors(path)[1] == {"format": "pt"}


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(StudyError, match="a folder that can be written"):
        write_tensors(tmp_path / "folder" / "a.safetensors", TENSORS, {})
