import pytest

from quatrain.specs import StudyError
from quatrain.study import load_study
from quatrain.study.templates import TEMPLATES, write_template


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_is_written_and_loads(name, tmp_path):
    path = write_template(name, tmp_path)
    assert load_study(path).select()
    docstring = path.read_text().split('"""')[1]
    assert str(path) in docstring
    assert TEMPLATES[name].needs_data == ("--data" in docstring)


def test_a_template_is_written_to_a_file_of_any_name(tmp_path):
    path = write_template("own-network", tmp_path / "mine.py")
    assert path.read_text().startswith('"""')


def test_an_existing_file_is_not_overwritten(tmp_path):
    (tmp_path / "own_network.py").write_text("mine")
    with pytest.raises(StudyError) as info:
        write_template("own-network", tmp_path)
    assert info.value.field == str(tmp_path / "own_network.py")
    assert (tmp_path / "own_network.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("imagenet", "x.py"),
        ("coco", "missing/x.py"),
        ("coco", "new_folder"),
        ("coco", f"{'x' * 300}.py"),
    ],
)
def test_unusable_arguments_are_errors(name, path, tmp_path):
    with pytest.raises(StudyError) as info:
        write_template(name, tmp_path / path)
    assert info.value.field == ("template" if name == "imagenet" else str(tmp_path / path))
