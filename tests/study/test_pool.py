import sys

import pytest

from quatrain.study.messages import Event, Order
from quatrain.study.pool import Ended, Pool

ECHO = """
import sys
from quatrain.study.messages import Event, Order
for line in sys.stdin:
    order = Order.from_line(line)
    if order.retry:
        sys.exit(3)
    print(Event(kind="done", identity=order.identity).to_line(), end="", flush=True)
"""


@pytest.fixture
def pool(tmp_path):
    made = Pool(1, (sys.executable, "-c", ECHO), tmp_path)
    yield made
    made.stop()


def test_a_worker_answers_and_stays_for_the_next_order(pool):
    for identity in ("aa", "bb"):
        pool.give(1, Order(identity, 0))
        assert pool.hear() == (1, Event(kind="done", identity=identity))


def test_a_worker_that_ends_says_so_and_is_replaced(pool):
    pool.give(1, Order("aa", 0, retry=True))
    worker, end = pool.hear()
    assert (worker, end.status) == (1, 3)
    pool.give(1, Order("bb", 0))
    assert pool.hear() == (1, Event(kind="done", identity="bb"))


@pytest.mark.parametrize(("status", "words"), [(-9, "killed by signal 9"), (3, "exit status 3")])
def test_an_end_is_told_in_words(status, words):
    assert words in Ended(1, status).reason


def test_closing_lets_idle_workers_end(tmp_path):
    pool = Pool(1, (sys.executable, "-c", ECHO), tmp_path)
    pool.give(1, Order("aa", 0))
    pool.hear()
    pool.close()
    _, end = pool.hear()
    assert end.status == 0
