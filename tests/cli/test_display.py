import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from quatrain.cli.display import Display, duration, hours_text, numbers
from quatrain.study import Event


def event(kind="progress", **fields):
    return Event(kind=kind, identity="ab", label="self/w/o seed 0", worker=1, **fields)


def output_of(events, *, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with Display(console, runs=2) as display:
        for event in events:
            display.notify(event)
    return console.file.getvalue()


def test_without_a_terminal_each_run_has_a_first_and_a_last_line():
    events = [event("started"), event(step=1, steps=9), event(step=2, steps=9), event("done")]
    assert output_of(events, terminal=False).splitlines() == [
        "self/w/o seed 0: starting",
        "1/2 done: self/w/o seed 0",
    ]


def test_a_failure_is_printed_with_its_reason_and_without_markup():
    lines = output_of([event("failed", reason="error", message="no [red] wine")], terminal=False)
    assert lines == "1/2 failed: self/w/o seed 0 (error: no [red] wine)\n"


def test_a_note_is_printed_once():
    notes = [event("note", message=text) for text in ("2 [odd]", "3 even", "2 [odd]")]
    assert output_of(notes, terminal=False) == "note: 2 [odd]\nnote: 3 even\n"


def test_skipped_runs_count_and_are_not_printed():
    assert (
        output_of([event("skipped"), event("done")], terminal=False)
        == "2/2 done: self/w/o seed 0\n"
    )


def test_on_a_terminal_there_is_a_bar_for_the_worker_and_one_for_all():
    text = output_of(
        [event(step=40, steps=100, loss=2.5, rate=1234.0, rate_unit="tokens/s")], terminal=True
    )
    assert "all runs" in text
    assert "step 40/100  loss 2.500  1,234 tokens/s" in text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, ""),
        ({"text": "reading data"}, "reading data"),
        ({"step": 1, "steps": 2, "seconds_left": 75.0}, "step 1/2  1:15 left"),
    ],
)
def test_numbers_are_shown_as_far_as_they_are_known(fields, text):
    assert numbers(event(**fields)) == text


@given(st.integers(0, 10**6))
def test_a_duration_can_be_read_back(seconds):
    total = 0
    for part in duration(seconds).split(":"):
        total = 60 * total + int(part)
    assert total == seconds


@pytest.mark.parametrize(("hours", "text"), [(1.0, "1.0 h"), (30.25, "30.2 h"), (0.5, "30.0 min")])
def test_less_than_an_hour_is_in_minutes(hours, text):
    assert hours_text(hours) == text


HOSTILE = "\x1b]0;owned\x07\x1b[2J"


@pytest.mark.parametrize("terminal", [False, True])
def test_no_label_message_or_text_of_a_run_commands_the_terminal(terminal):
    fields = {"identity": "ab", "label": HOSTILE, "worker": 1, "step": 1, "steps": 9}
    events = [
        Event(kind="progress", text=HOSTILE, rate=1.0, rate_unit=HOSTILE, **fields),
        Event(kind="note", message=HOSTILE, **fields),
        Event(kind="failed", reason="error", message=HOSTILE, **fields),
    ]
    output = output_of(events, terminal=terminal)
    assert "\x1b]0;" not in output
    assert "\x1b[2J" not in output
    assert "\\x1b[2J" in output
