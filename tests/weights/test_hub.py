import sys
from types import ModuleType

import pytest

from quatrain.specs import DataError, MissingPackageError
from quatrain.weights.hub import download, is_repository


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in for huggingface_hub that creates the files it is called for."""
    module, calls = ModuleType("huggingface_hub"), []

    def hf_hub_download(repository, name, revision=None):
        calls.append((repository, name, revision))
        if repository == "owner/absent":
            raise OSError("404 Client Error.\nRepository not found")
        return str(tmp_path / name)

    module.hf_hub_download = hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return calls


@pytest.mark.parametrize("name", ["owner/name", "a-b/c.d_2"])
def test_a_repository_has_an_owner_and_a_name(name):
    assert is_repository(name)


@pytest.mark.parametrize("name", ["name", "a/b/c", "/a/b", "./a", "../a", "a b/c", "", "a/"])
def test_other_names_are_paths(name):
    assert not is_repository(name)


def test_files_are_downloaded(hub, tmp_path):
    assert download("owner/name", ["a", "b"], "v1") == [tmp_path / "a", tmp_path / "b"]
    assert hub == [("owner/name", "a", "v1"), ("owner/name", "b", "v1")]


def test_a_failed_download_is_one_sentence(hub):
    with pytest.raises(DataError, match=r"Repository not found\); correct the name") as error:
        download("owner/absent", ["a"])
    assert "\n" not in str(error.value)


def test_the_extra_is_named_where_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match=r"quatrain\[hub\]"):
        download("owner/name", ["a"])
