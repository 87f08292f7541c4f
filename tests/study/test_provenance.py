import re
import subprocess
from importlib import metadata

from quatrain import __version__
from quatrain.study import provenance
from quatrain.study.provenance import commit_of, device_name, versions


def test_versions_are_those_of_the_installed_packages():
    result = versions()
    assert result["torch"] == metadata.version("torch")
    assert result["pillow"] == metadata.version("pillow")
    assert list(result)[:3] == ["python", "quatrain", "torch"]


def test_the_version_of_quatrain_has_a_hash_of_its_sources():
    version, _, sources = versions()["quatrain"].partition(", sources ")
    assert version == __version__
    assert re.fullmatch("[0-9a-f]{12}", sources)
    assert versions()["quatrain"].endswith(sources)


def test_templates_of_a_wheel_are_not_in_the_hash_of_the_sources(tmp_path, monkeypatch):
    (tmp_path / "study" / "templates").mkdir(parents=True)
    (tmp_path / "study" / "provenance.py").touch()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "study" / "provenance.py"))
    monkeypatch.setattr(provenance, "TEMPLATE_FOLDER", tmp_path / "study" / "templates")
    hash_of_sources = provenance._hash_of_sources.__wrapped__
    before = hash_of_sources()
    (tmp_path / "study" / "templates" / "probes.py").write_text("x = 1")
    assert hash_of_sources() == before
    (tmp_path / "study" / "grid.py").write_text("x = 1")
    assert hash_of_sources() != before


def test_a_missing_package_has_no_version(monkeypatch):
    version = metadata.version

    def look_up(name):
        if name == "sacrebleu":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", look_up)
    uncached = provenance._versions_of_packages.__wrapped__
    monkeypatch.setattr(provenance, "_versions_of_packages", uncached)
    result = versions()
    assert "sacrebleu" not in result
    assert result["tokenizers"] == version("tokenizers")


def test_the_device_comes_first_in_its_name():
    assert device_name("cpu").startswith("cpu (")


def git(folder, *words):
    identity = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_a_folder_outside_any_repository_has_no_commit(tmp_path):
    assert commit_of(tmp_path) is None


def test_a_commit_with_changed_files_is_dirty(tmp_path):
    (tmp_path / "study.py").write_text("1")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "m")
    clean = commit_of(tmp_path)
    (tmp_path / "study.py").write_text("2")
    assert len(clean) == 40
    assert commit_of(tmp_path) == f"{clean}-dirty"


def test_new_python_files_make_a_commit_dirty_and_results_do_not(tmp_path):
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
