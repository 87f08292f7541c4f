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
def test_an_order_is_read_back_from_its_line(order):
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
def test_an_event_is_read_back_from_its_line(event):
    assert event.to_line().count("\n") == 1
    assert Event.from_line(event.to_line()) == event


@pytest.mark.parametrize(
    ("kind", "is_final"),
    [("started", False), ("progress", False), ("done", True), ("failed", True), ("locked", True)],
)
def test_a_worker_is_idle_after_a_final_event(kind, is_final):
    assert Event(kind=kind, identity="ab").is_final is is_final


@pytest.mark.parametrize(
    "line",
    [
        "", "a banner", "null", "3", "[1, 2]", '"done"', "{}", '{"kind": "done"}',
        '{"kind": "unknown", "identity": "ab"}', '{"kind": "done", "identity": 3}',
        '{"kind": "done", "identity": "ab", "step": "many"}', "[" * 100_000, "9" * 5_000,
        b"\xff\xfe banner", b"\x00\x00\x00", '{"kind": "done", "identity": "ab"',
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_a_value_error(line):
    with pytest.raises(ValueError):  # noqa: PT011
        Event.from_line(line)


def test_unknown_fields_are_ignored():
    event = Event(kind="done", identity="ab", step=3)
    line = json.dumps({**asdict(event), "temperature": 21, "places": [1]})
    assert Event.from_line(line) == event


@pytest.mark.parametrize("field", ["label", "text", "reason", "message", "rate_unit"])
def test_texts_are_escaped_and_shortened(field):
    line = Event(kind="failed", identity="ab", **{field: "caf\udce9 " + "x" * 10**6}).to_line()
    assert line.isascii()
    received = getattr(Event.from_line(line), field)
    assert received.startswith("caf\\udce9 ")
    assert len(received) < TEXT_LIMIT + 100


@pytest.mark.parametrize("fields", [{"step": 0.5}, {"rate_unit": None}, {"kind": "unknown"}])
def test_an_event_with_wrong_types_is_an_error(fields):
    with pytest.raises(ValueError):  # noqa: PT011
        Event(**{"kind": "progress", "identity": "ab", **fields}).to_line()
