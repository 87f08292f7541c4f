import json
import re
import runpy
import shlex
from pathlib import Path

import click
import pytest
import typer.main

from quatrain.cli.main import app

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "quatrain"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("[CS]*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language=None):
    """Every code block as (page, text)."""
    return [
        (page, text)
        for page in PAGES
        for tag, text in BLOCK.findall(page.read_text())
        if language in {None, tag}
    ]


def command_lines():
    """The lines of code blocks that call quatrain or make, without prompt and comment."""
    found = []
    for _, text in blocks():
        for line in text.replace("\\\n", " ").splitlines():
            words = line.strip().removeprefix("$ ")
            if re.match(r"(\.venv/bin/)?quatrain [a-z-]|make [a-z]", words):
                found.append(words.split(" #")[0].strip())
    return sorted(set(found))


def targets():
    """The targets of the Makefile; several may share a rule."""
    rules = re.findall(r"^([a-z][\w -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return {target for rule in rules for target in rule.split()}


def parsed(words):
    """Walk down the commands; click itself judges the options of the last one."""
    command = typer.main.get_command(app)
    context = click.Context(command, info_name="quatrain")
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
        context = click.Context(command, parent=context)
    command.parse_args(context, words)
    return command


@pytest.mark.parametrize("line", command_lines())
def test_commands_and_options_in_the_docs_exist(line):
    words = shlex.split(line)
    if words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= targets()
    else:
        assert parsed(words[1:]).name


def test_commands_of_containers_in_the_docs_exist():
    lists = [
        found for _, text in blocks("yaml") for found in re.findall(r"command: \[(.*)\]", text)
    ]
    commands = [[word.strip(' "') for word in words.split(",")] for words in lists]
    assert [words[0] for words in commands] == ["quatrain"]
    assert all(parsed(words[1:]).name for words in commands)


def test_python_commands_in_the_docs_name_files_that_exist():
    lines = [line for _, text in blocks("sh") for line in text.splitlines()]
    commands = [line.split() for line in lines if line.startswith("python ")]
    files = [
        words[2].replace(".", "/") + ".py" if words[1] == "-m" else words[1] for words in commands
    ]
    assert "docs/figures/draw.py" in files
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_the_readme_has_make_study_and_make_test():
    lines = command_lines()
    assert "make study" in lines
    assert "make test" in lines


@pytest.mark.parametrize(
    "text", [text for _, text in blocks("python")], ids=[page.name for page, _ in blocks("python")]
)
def test_each_python_block_of_the_docs_runs(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.py").write_text(text)
    runpy.run_path("example.py", run_name="example")


def test_each_decimal_number_of_the_readme_is_in_a_report_or_a_table_of_measurements():
    readme = re.sub(r"\]\(.*?\)|arxiv\S+", "", (ROOT / "README.md").read_text())
    sources = [ROOT / "docs" / "performance.md", *ROOT.glob("docs/results/*/report/report.md")]
    number = r"(?<![\w.])\d+\.\d+(?!\w|\.\d)"  # without factors such as 3.1x
    measured = {each for path in sources for each in re.findall(number, path.read_text())}
    stated = set(re.findall(number, readme)) - {"3.11", "2.15"}  # of Python and torch
    assert len(stated) > 5
    assert sorted(stated - measured) == []


def measured_ratios(name, select, column):
    """The ratios of one table of measurements, by term set."""
    table = json.loads((ROOT / "docs" / "results" / "benchmarks" / f"{name}.json").read_text())
    rows = [row for row in table["rows"] if select.items() <= row.items()]
    return {row["terms"]: row[column] for row in rows}


def test_each_factor_of_the_readme_is_a_ratio_of_a_table_of_measurements():
    """Factors are written as "3.1x (0110)" and "1/27 (1111)"."""
    forward = {"map": "64x64", "pass": "forward"}
    training = {"map": "64x64", "pass": "training"}
    on_gpu = {"map": "100x168", "pass": "training"}
    faster = measured_ratios("attention_64x64", forward, "time / dense")
    smaller = measured_ratios("attention_64x64", training, "memory / dense")
    gpu = measured_ratios("attention_gpu", on_gpu, "time / SDPA")
    lines = (ROOT / "README.md").read_text().splitlines()
    checked = []
    for line in lines:
        for text, terms in re.findall(r"([\d.]+)x \((\d{4})\)", line):
            factor = 1 / faster[terms] if "faster than dense" in line else gpu[terms]
            checked.append((text, f"{factor:.{len(text.partition('.')[2])}f}"))
        for text, terms in re.findall(r"1/(\d+) \((\d{4})\)", line):
            checked.append((text, f"{1 / smaller[terms]:.0f}"))
    assert len(checked) == 7
    assert [text for text, _ in checked] == [factor for _, factor in checked]
    assert len(re.findall(r"\d[\d.]*x(?!\w)|\b1/\d", "\n".join(lines))) == len(checked)


def test_links_between_pages_exist():
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_architecture_page_names_files_that_exist():
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([\w/]+\.py)`", page))
    assert len(named) > 40
    assert [name for name in named if not (SOURCE / name).exists() | (ROOT / name).exists()] == []
