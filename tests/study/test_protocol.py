import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.study.protocol import TEXT_LIMIT, Event, Order

numbers = st.floats(allow_nan=False)


@given(
    st.builds(
        Order,
        identity=st.text(),
        seed=st.integers(),
        retry=st.booleans(),
        label=st.none() | st.text(),
        spec_code=st.none() | st.text(),
    )
)
def test_an_order_survives_the_line_it_travels_on(order):
    assert order.to_line().count("\n") == 1
    assert Order.from_line(order.to_line()) == order


@given(
    st.builds(
        Event,
        kind=st.sampled_from(["started", "progress", "done", "failed", "skipped", "locked"]),
        identity=st.text(),
        message=st.text(),
        loss=st.none() | numbers,
        rate=numbers,
        seconds_left=st.none() | numbers,
    )
)
def test_an_event_survives_the_line_it_travels_on(event):
    assert event.to_line().count("\n") == 1
    assert Event.from_line(event.to_line()) == event


@pytest.mark.parametrize(
    ("kind", "closes"),
    [("started", False), ("progress", False), ("done", True), ("failed", True), ("locked", True)],
)
def test_a_worker_is_free_again_after_the_closing_kinds(kind, closes):
    assert Event(kind=kind, identity="ab").is_final is closes


@pytest.mark.parametrize(
    "line",
    [
        "", "a banner", "null", "3", "[1, 2]", '"done"', "{}", '{"kind": "done"}',
        '{"kind": "sung", "identity": "ab"}', '{"kind": "done", "identity": 3}',
        '{"kind": "done", "identity": "ab", "step": "many"}', "[" * 100_000, "9" * 5_000,
        b"\xff\xfe banner", b"\x00\x00\x00", '{"kind": "done", "identity": "ab"',
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_a_value_error(line):
    with pytest.raises(ValueError, match="no event"):
        Event.from_line(line)


def test_fields_that_a_newer_version_sends_are_left_out():
    event = Event(kind="done", identity="ab", step=3)
    line = json.dumps({**asdict(event), "temperature": 21, "places": [1]})
    assert Event.from_line(line) == event


@pytest.mark.parametrize("field", ["label", "text", "reason", "message", "rate_unit"])
def test_any_text_travels_escaped_and_bounded(field):
    line = Event(kind="failed", identity="ab", **{field: "caf\udce9 " + "x" * 10**6}).to_line()
    assert line.isascii()
    received = getattr(Event.from_line(line), field)
    assert received.startswith("caf\\udce9 ")
    assert len(received) < TEXT_LIMIT + 100


@pytest.mark.parametrize("fields", [{"step": 0.5}, {"rate_unit": None}, {"kind": "sung"}])
def test_an_event_that_no_runner_would_read_is_not_sent(fields):
    with pytest.raises(ValueError, match="validation error"):
        Event(**{"kind": "progress", "identity": "ab", **fields}).to_line()
