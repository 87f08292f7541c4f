import re
import subprocess
from importlib import metadata

from quatrain import __version__
from quatrain.study.provenance import commit_of, device_name, versions


def test_versions_are_those_of_the_installed_packages():
    found = versions()
    assert found["torch"] == metadata.version("torch")
    assert found["pillow"] == metadata.version("pillow")
    assert list(found)[:3] == ["python", "quatrain", "torch"]


def test_of_one_version_of_quatrain_the_sources_tell_which():
    version, _, sources = versions()["quatrain"].partition(", sources ")
    assert version == __version__
    assert re.fullmatch("[0-9a-f]{12}", sources)
    assert versions()["quatrain"].endswith(sources)


def test_what_is_not_installed_has_no_version(monkeypatch):
    version = metadata.version

    def asked(name):
        if name == "sacrebleu":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", asked)
    found = versions()
    assert "sacrebleu" not in found
    assert found["tokenizers"] == version("tokenizers")


def test_the_device_comes_first_in_its_name():
    assert device_name("cpu").startswith("cpu (")


def git(folder, *words):
    identity = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_a_folder_outside_any_repository_has_no_commit(tmp_path):
    assert commit_of(tmp_path) is None


def test_the_commit_says_when_files_differ_from_it(tmp_path):
    (tmp_path / "study.py").write_text("1")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "m")
    clean = commit_of(tmp_path)
    (tmp_path / "study.py").write_text("2")
    assert len(clean) == 40
    assert commit_of(tmp_path) == f"{clean}-dirty"


def test_python_files_that_no_commit_has_are_a_difference_and_results_are_none(tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "one.py").write_text("1")
    git(tmp_path, "init")
    assert commit_of(tmp_path) is None
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "m")
    (tmp_path / "record.json").write_text("{}")
    clean = commit_of(tmp_path / "studies")
    assert len(clean) == 40
    (tmp_path / "helper.py").write_text("2")
    assert commit_of(tmp_path / "studies") == f"{clean}-dirty"
