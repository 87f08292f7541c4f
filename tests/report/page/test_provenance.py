import re
import shlex

from quatrain.report.notes import notes_by_kind
from quatrain.report.page.provenance import commands, facts, run_rows
from quatrain.report.tables import build_table


def test_notes_are_grouped_by_kind():
    notes = [
        "3 of 4 expectations met",
        "expectation not met: near, 0010: 40.00, expected ≤ 25 because x",
        "runs still to be done: self/w/o",
        "self, w/o: of 3 runs, 1 failed",
        "compared cells differ in more than one factor (width): a − b",
        "equal metrics in all seeds, so they may compute the same: a, b (self)",
        "data, empty lines: 3",
        "cells of group self were trained on different data",
        "compared cells ran different commits: a − b",
        "net.py changed after 1 run finished (self/0110)",
        "latencies were measured on different machines: a; b",
        "BLEU was computed differently between runs: a / b",
        "groups not started, not shown: whole (2 cells)",
        "something new",
    ]
    found = {each.kind: len(each.notes) for each in notes_by_kind(notes)}
    assert found == {
        "Expectations": 2,
        "Compared cells": 2,
        "Unfinished runs": 3,
        "Data": 2,
        "Code and versions": 2,
        "Machines": 1,
        "Metrics": 1,
        "Other": 1,
    }


def test_all_notes_of_a_report_have_a_kind(report, matrix_report):
    for each in (report, matrix_report):
        notes = notes_by_kind(build_table(each.study, each.groups).notes)
        assert sum(len(kind.notes) for kind in notes) == len(each.table.notes)
        assert "Other" not in {kind.kind for kind in notes}


def test_facts_have_versions_hashes_and_machines(report):
    found = dict(facts(report.study))
    assert found["version of torch"] == "2.14.1"
    assert found["hash of train.de"] == "a" * 64
    assert found["device"] == "cpu, 1 threads"


def test_runs_have_their_state_and_value(report):
    rows = [row.split("<td>") for row in run_rows(report).splitlines()]
    assert len(rows) == 18
    group, cell, seed, folder, state, steps, seconds, value = rows[0][1:]
    assert (group, cell, seed, state, value) == ("self", "1111", "0", "done", "31.0000")
    assert (steps, seconds) == ("300", "90.0")
    assert re.fullmatch("[0-9a-f]{16}", folder)
    assert {row[5] for row in rows} == {"done", "failed", "absent"}


def test_commands_survive_a_shell_and_a_glob(report):
    cells = report.study.manifest.cells
    odd = cells[0].model_copy(update={"name": "a*b '$x'"})
    manifest = report.study.manifest.model_copy(update={"cells": (odd, *cells[1:])})
    words = shlex.split(commands(manifest)[0].text)
    assert words[:4] == ["quatrain", "study", "run", "STUDY.py"]
    assert words[words.index("--cells") + 1] == "self/a[*]b '$x'"
    assert words[words.index("--seeds") + 1] == "0,1,2"
