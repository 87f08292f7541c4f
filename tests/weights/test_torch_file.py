import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from quatrain.specs import DataError, StoredFileError
from quatrain.weights import read_torch_file, write_tensors

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}
FORMATS = {"zip": True, "legacy": False}


class Hostile:
    """Runs a command where it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(marker):
    """Objects that would create the file `marker`."""
    return {
        "posix.system": Hostile(os.system, f"touch {marker}"),
        "eval": Hostile(eval, f"open({str(marker)!r}, 'w')"),
        "open": Hostile(open, str(marker), "w"),
        "savetxt": Hostile(np.savetxt, str(marker), [1.0]),
    }


def equal(tensors, expected=STATE):
    return tensors.keys() == expected.keys() and all(
        torch.equal(tensors[name], value) for name, value in expected.items()
    )


@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_state_dict_of_a_checkpoint_is_read(tmp_path, zipped, prefix):
    path = tmp_path / "a.pth"
    state = OrderedDict((prefix + name, value) for name, value in STATE.items())
    state._metadata = OrderedDict(x={"version": 1})
    content = {"state_dict": state, "meta": {"epoch": 12, "CLASSES": ("cat", "dog")}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    file = read_torch_file(path)
    assert equal(file.tensors)
    assert file.meta == content["meta"]


def test_a_bare_state_dict_is_read(tmp_path):
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "a.pt")
    assert [*read_torch_file(tmp_path / "a.pt").tensors] == ["weight", "bias"]
    save_file(STATE, tmp_path / "a.safetensors")
    assert equal(read_torch_file(tmp_path / "a.safetensors").tensors)


class ConfigDict(dict):
    """A dictionary as that of mmengine, under whose name it is stored."""


class HistoryBuffer:
    """A history as that of mmengine; it stores bound methods."""

    def __init__(self):
        self.values = np.arange(3.0)
        self.methods = {"mean": HistoryBuffer.mean}

    @classmethod
    def mean(cls):
        """Do nothing."""


@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
def test_objects_of_mmengine_and_numpy_become_placeholders(tmp_path, monkeypatch, zipped):
    places = {
        ConfigDict: "mmengine.config.config",
        HistoryBuffer: "mmengine.logging.history_buffer",
    }
    for kind, place in places.items():
        for depth in range(3):
            name = place.rsplit(".", depth)[0]
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setattr(kind, "__module__", place)
        setattr(sys.modules[place], kind.__name__, kind)
    meta = {"config": ConfigDict(a=ConfigDict(b=1)), "loss": np.float64(3), "cfg": "model = 1"}
    content = {"state_dict": STATE, "meta": meta, "message_hub": {"loss": HistoryBuffer()}}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    monkeypatch.undo()
    file = read_torch_file(tmp_path / "a.pth")
    assert equal(file.tensors)
    assert file.meta["cfg"] == "model = 1"
    assert file.meta["config"] == {"a": {"b": 1}}
    assert type(file.meta["loss"]).__name__ == "_Placeholder"
    assert not [name for name in sys.modules if name.startswith("mmengine")]
    with pytest.raises(pickle.UnpicklingError):  # what is allowed here is not allowed elsewhere
        torch.load(tmp_path / "a.pth", weights_only=True)


@pytest.mark.parametrize("name", hostile(""))
@pytest.mark.parametrize("place", ["meta", "state_dict", "tensor"])
@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
def test_a_hostile_file_is_refused_and_nothing_runs(tmp_path, name, place, zipped):
    marker = tmp_path / "ran"
    content = {"state_dict": dict(STATE), "meta": {}}
    if place == "tensor":
        content["state_dict"]["c"] = hostile(marker)[name]
    else:
        content[place] = hostile(marker)[name]
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=f"{name}.* nothing of the file was executed") as error:
        read_torch_file(tmp_path / "a.pth")
    assert str(error.value).count("\n") == 0
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_of_any_protocol_does_not_run(tmp_path, protocol):
    marker, path = tmp_path / "ran", tmp_path / "a.pth"
    path.write_bytes(pickle.dumps(hostile(marker)["posix.system"], protocol))
    with pytest.raises(DataError):
        read_torch_file(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # the test's own file, which does run without the reader
    assert marker.exists()


def test_a_method_that_is_looked_up_by_name_is_not_called(tmp_path):
    """`getattr` is read as a placeholder, also where it would look up a function."""
    marker, path = tmp_path / "ran", tmp_path / "a.pth"
    text = f"c__builtin__\ngetattr\n(cnumpy\nndarray\nVos\ntR(Vtouch {marker}\ntR."
    path.write_bytes(b"\x80\x02" + text.encode())
    with pytest.raises(DataError, match="not an undamaged file"):
        read_torch_file(path)
    assert not marker.exists()


@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
def test_a_truncated_file_is_refused_in_one_sentence(tmp_path, zipped):
    path = tmp_path / "a.pth"
    torch.save({"state_dict": STATE}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in (0, 1, 10, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="undamaged") as error:
            read_torch_file(path)
        assert "\n" not in str(error.value)
        assert "weights_only" not in str(error.value)


OTHERS = {
    "a list": [1, 2],
    "numbers": {"a": 1},
    "no tensors": {},
    "an empty state": {"state_dict": {}},
    "numbers as names": {1: torch.ones(1)},
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(DataError, match="no state_dict"):
        read_torch_file(tmp_path / "a.pth")


UNUSABLE = {
    "meta": (torch.zeros(2, device="meta"), "has no values"),
    "sparse": (torch.eye(2).to_sparse(), "is sparse"),
    "expanded": (torch.zeros(1).expand(10**14), "more elements than numbers"),
}


@pytest.mark.parametrize(("tensor", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_tensors_without_values_of_their_own_are_refused(tmp_path, tensor, message):
    torch.save({"state_dict": STATE | {"weight": tensor}}, tmp_path / "a.pth")
    with pytest.raises(DataError, match=f"^weight in .*{message}"):
        read_torch_file(tmp_path / "a.pth")


def test_a_view_of_a_larger_tensor_is_read(tmp_path):
    view = torch.arange(12.0).reshape(3, 4)[:, 1:3]
    torch.save({"a": view, "empty": torch.zeros(0)}, tmp_path / "a.pth")
    assert equal(read_torch_file(tmp_path / "a.pth").tensors, {"a": view, "empty": torch.zeros(0)})


def test_a_size_beyond_the_file_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    size, huge = b"M\xe8\x03", b"J\xff\xff\xff\x7f"  # 1,000 and 2**31 - 1 as in a pickle
    assert content.count(size) == 2  # of the storage, and of the tensor
    path.write_bytes(content.replace(size, huge))
    with pytest.raises(DataError, match="undamaged"):
        read_torch_file(path)


@pytest.mark.parametrize("name", ["data/0", "data.pkl"])
def test_a_compressed_archive_is_refused(tmp_path, name):
    """torch.save compresses nothing, and a megabyte could fill a gigabyte."""
    path = tmp_path / "a.pth"
    torch.save(STATE, path)
    with zipfile.ZipFile(path) as archive:
        parts = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in parts.items():
            data = bytes(10**7) if each.endswith(name) else content
            archive.writestr(each, data, zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match=r"its parts have 10,\d+,\d+ bytes"):
        read_torch_file(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    with pytest.raises(DataError, match="does not exist"):
        read_torch_file(path)
    with pytest.raises(DataError, match="regular file"):
        read_torch_file(tmp_path)
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(DataError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_torch_file(path)
    path.write_text("<html>404</html>")
    with pytest.raises(DataError, match="is no checkpoint of torch; pass a file"):
        read_torch_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b", "c")
    with pytest.raises(DataError, match="undamaged"):
        read_torch_file(path)


@pytest.mark.timeout(30)
def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.pth")
    with pytest.raises(DataError, match="regular file"):
        read_torch_file(tmp_path / "a.pth")


def test_a_file_of_a_newer_quatrain_is_not_called_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr("quatrain.weights.tensor_file._FORMAT", 2)
    write_tensors(tmp_path / "a.safetensors", STATE, {})
    monkeypatch.undo()
    with pytest.raises(StoredFileError, match="newer version"):
        read_torch_file(tmp_path / "a.safetensors")
