import pytest

from quatrain.report.write import write_report
from quatrain.results import ResultStore
from quatrain.specs import StudyError


def test_a_report_is_four_files_and_the_same_bytes_twice(store, tmp_path):
    first = write_report(store, tmp_path / "one")
    second = write_report(store, tmp_path / "two")
    names = ("html", "markdown", "csv", "svg")
    assert len(list((tmp_path / "one").iterdir())) == len(names)
    assert first.matrix is None
    for name in names:
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes()


def test_a_study_that_is_a_matrix_has_its_picture_too(matrix_store, tmp_path):
    files = write_report(matrix_store, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"matrix.svg", "report.md", "report.html"}
    assert "not met" in files.matrix.read_text()
    page = files.html.read_text()
    assert "<h2>Matrix</h2>" in page
    assert "it sees a bag | &lt;counted&gt;" in page
    assert "40.0 (≤ 25, not met)" in files.markdown.read_text()


def test_a_study_without_a_finished_run_still_reports(store, tmp_path):
    for path in store.root.glob("runs/*/*.json"):
        path.unlink()
    files = write_report(store, tmp_path / "out")
    assert "No finished run" in files.svg.read_text()
    assert "runs still to be done: self/1111" in files.markdown.read_text()
    assert "no common seed" in files.html.read_text()


def test_a_folder_without_a_study_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(StudyError, match=r"study\.json"):
        write_report(ResultStore(tmp_path / "nothing"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
