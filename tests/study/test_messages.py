import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.study.messages import Event, Order

numbers = st.floats(allow_nan=False)


@given(
    st.builds(
        Order,
        identity=st.text(),
        seed=st.integers(),
        retry=st.booleans(),
        label=st.none() | st.text(),
    )
)
def test_an_order_survives_the_line_it_travels_on(order):
    assert order.to_line().count("\n") == 1
    assert Order.from_line(order.to_line()) == order


@given(
    st.builds(
        Event,
        kind=st.sampled_from(["started", "progress", "done", "failed", "skipped", "held"]),
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
    [("started", False), ("progress", False), ("done", True), ("failed", True), ("held", True)],
)
def test_a_worker_is_free_again_after_the_closing_kinds(kind, closes):
    assert Event(kind=kind, identity="ab").closes is closes
