import json
from dataclasses import dataclass

from quatrain.cli.output import print_json, print_rows


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


def test_json_keeps_letters_of_all_languages(capsys):
    print_json({"ä": 1})
    assert '"ä": 1' in capsys.readouterr().out
