import subprocess
from importlib import metadata

from quatrain.study.provenance import commit_of, device_name, versions


def test_versions_are_those_of_the_installed_packages():
    found = versions()
    assert found["torch"] == metadata.version("torch")
    assert list(found) == ["python", "quatrain", "torch", "tokenizers", "sacrebleu", "numpy"]


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
