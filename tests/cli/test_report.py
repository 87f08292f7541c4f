import io
import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from fake.results import put_record
from quatrain.cli.main import app
from quatrain.cli.output import width_of
from quatrain.cli.report import fitting, print_report
from quatrain.report.build import load_report
from quatrain.report.columns import MATRIX_LEGEND, Column
from quatrain.report.render import to_terminal
from quatrain.results import ResultStore
from quatrain.specs import StudyError
from quatrain.study import load_study

COMPARISON = "[Comparison(left='b', right='a', group='one')]"


@pytest.fixture
def folder(write_study, finish, tmp_path):
    finish(write_study("[cell('a'), cell('b', weight=2)]", comparisons=COMPARISON))
    return tmp_path / "out"


def call(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)


def test_the_report_is_a_table_the_differences_and_the_path_of_the_page(folder):
    done = call(folder)
    assert done.exit_code == 0
    assert "A study" in done.output
    assert "Differences" in done.output
    assert f"Report: {folder / 'report' / 'report.html'}" in done.output.replace("\n", "")
    assert (folder / "report" / "report.html").exists()


def test_json_has_cells_and_differences(folder):
    content = json.loads(call(folder, "--json").output)
    assert [row["score"] for row in content["cells"]] == [6, 12]
    assert content["differences"][0]["mean"] == 6


def test_json_is_the_document_of_the_report_folder(folder):
    printed = json.loads(call(folder, "--json").output)
    call(folder)
    assert printed == json.loads((folder / "report" / "report.json").read_text())
    assert printed["format"] == 1


def test_markdown_and_csv_are_printed_and_nothing_is_written(folder):
    assert call(folder, "--markdown").output.startswith("# A study")
    assert call(folder, "--csv").output.splitlines()[0].startswith("group,cell,")
    assert not (folder / "report").exists()


def test_two_formats_at_once_are_an_error(folder):
    with pytest.raises(StudyError):
        call(folder, "--csv", "--json")


def test_a_missing_folder_of_data_is_an_error(folder, tmp_path):
    with pytest.raises(StudyError) as error:
        call(folder, "--data", tmp_path / "absent")
    assert error.value.field == "data"


def test_data_without_differences_in_bleu_are_a_note(folder, tmp_path):
    done = call(folder, "--json", "--data", tmp_path)
    assert "Note: no intervals over test sentences" in done.stderr
    assert json.loads(done.stdout)["differences"][0]["test_examples_low"] is None
    assert "Note: no intervals" not in call(folder).output


def test_a_study_that_has_not_begun_is_reported_too(write_study, tmp_path):
    store = ResultStore(tmp_path / "out")
    store.write_manifest(load_study(write_study("[cell('a')]")).manifest())
    assert call(store.root).exit_code == 0


def test_groups_that_have_not_started_are_a_note_in_the_tables(write_study, finish):
    cells = "[cell('a'), cell('b', 'two', weight=2), cell('c', 'two', weight=3)]"
    comparisons = "[Comparison(left='b', right='c', group='two')]"
    folder = finish(write_study(cells, comparisons=comparisons), cells=["one/*"]).root
    note = "groups not started, not shown: two (2 cells)"
    assert note in call(folder).output
    assert note in call(folder, "--markdown").output
    content = json.loads(call(folder, "--json").output)
    names = [["one", "a"], ["two", "b"], ["two", "c"]]
    assert [[row["group"], row["cell"]] for row in content["cells"]] == names
    assert [row["left"] for row in content["differences"]] == ["b"]
    for text in (call(folder, "--csv").output, (folder / "report" / "report.csv").read_text()):
        assert [line.split(",")[:2] for line in text.splitlines()[1:]] == names


def test_a_narrow_terminal_shows_the_primary_metric_only(make_console, folder):
    store = ResultStore(folder)
    for record in store.all_records():
        metrics = {"score": record.metrics["score"], "another_metric": 0.5 + record.seed}
        put_record(store, record.model_copy(update={"metrics": metrics}))
    narrow, wide = make_console(90), make_console(300)
    print_report(narrow, load_report(store))
    print_report(wide, load_report(store))
    assert "another" in wide.file.getvalue()
    assert "another" not in narrow.file.getvalue()
    assert "one" in narrow.file.getvalue()
    assert "1 more metrics do not fit" in narrow.file.getvalue()
    assert "do not fit" not in wide.file.getvalue()


@pytest.mark.timeout(60)
def test_a_terminal_shows_the_metrics_that_fit(make_console, folder):
    store = ResultStore(folder)
    for record in store.all_records():
        metrics = {"score": 1.0 + record.seed, **{f"metric{n}": float(n) for n in range(1000)}}
        put_record(store, record.model_copy(update={"metrics": metrics}))
    console = make_console(160)
    print_report(console, load_report(store))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 160
    assert any("metric0" in line for line in lines)
    left_out = next(line for line in lines if "more metrics do not fit" in line)
    assert 900 < int(left_out.split()[0]) < 1000
    assert call(folder, "--csv").output.count("metric999") == 3


def test_columns_fit_exactly_where_they_do(make_console):
    names = [f"metric{number}" for number in range(5)]
    columns = [Column(name, ("1.00",), (1.0,), numeric=True) for name in ("group", "score", *names)]
    for width in range(10, 90):
        shown, left_out = fitting(columns, names, width)
        assert len(shown) == len(columns) - left_out
        assert not left_out or width_of(to_terminal(columns[: len(shown) + 1], "")) > width
        assert len(shown) == 2 or width_of(to_terminal(shown, "")) <= width


@pytest.fixture
def make_console():
    return lambda width: Console(file=io.StringIO(), width=width)


def test_a_study_whose_groups_have_the_same_cells_has_a_matrix(write_study, finish, tmp_path):
    cells = "[cell(n, group=g, weight=w) for g, w in (('x', 1), ('y', 2)) for n in ('a', 'b')]"
    finish(write_study(cells))
    output = call(tmp_path / "out").output
    assert MATRIX_LEGEND in " ".join(output.split())
    assert (tmp_path / "out" / "report" / "matrix.svg").exists()
