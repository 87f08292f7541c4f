import re
import shlex

from quatrain.report.page.provenance import commands, facts, run_rows


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
