import io
import json
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from quatrain.cli.output import (
    open_console,
    print_json,
    print_line,
    print_rows,
    print_table,
    width_of,
)


@dataclass
class Row:
    name: str
    hours: float | None
    cells: tuple[str, ...] = ("a", "b")


def test_rows_are_a_table_of_the_chosen_columns(capsys):
    print_rows([Row("[x]", None), Row("y", 0.12345)], ["name", "hours"], as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["name", "hours"], ["[x]", "-"], ["y", "0.123"]]


def test_several_names_in_one_field_are_joined(capsys):
    print_rows([Row("x", None)], ["cells"], as_json=False)
    assert "a, b" in capsys.readouterr().out


def test_json_has_every_field(capsys):
    print_rows([Row("x", 0.5)], ["name"], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"name": "x", "hours": 0.5, "cells": ["a", "b"]}]


def test_json_has_letters_of_all_languages(capsys):
    print_json({"ä": 1})
    assert '"ä": 1' in capsys.readouterr().out


def test_json_with_control_characters_is_ascii(capsys):
    print_json({"a": "\x9b31m \udce9 ä"})
    output = capsys.readouterr().out
    assert output.isascii()
    assert json.loads(output) == {"a": "\x9b31m \udce9 ä"}


def test_control_characters_in_rows_are_escaped(capsys):
    print_rows([Row("\x1b[2Jx", None)], ["name"], as_json=False)
    assert "\\x1b[2Jx" in capsys.readouterr().out


def test_lines_have_no_markup_and_no_control_characters():
    console = Console(file=io.StringIO(), width=40, force_terminal=True)
    print_line(console, "[red]a[/] \x1b[31mb")
    assert console.file.getvalue() == "[red]a[/] \\x1b[31mb\n"


def wide_table():
    table = Table(*(f"column {number}" for number in range(30)))
    table.add_row(*(f"value {number}" for number in range(30)))
    return table


def test_a_table_that_is_wider_than_the_console_is_not_cut():
    console = Console(file=io.StringIO(), width=40)
    print_table(console, wide_table())
    assert all(f"value {number}" in console.file.getvalue() for number in range(30))
    assert "…" not in console.file.getvalue()


def test_the_width_of_a_table_does_not_depend_on_the_terminal():
    assert width_of(wide_table()) > 200


def test_a_file_is_160_columns_wide(capsys):
    assert open_console().width == 160


def test_colours_in_a_file_do_not_make_it_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = open_console()
    assert (console.is_interactive, console.width) == (False, 160)
