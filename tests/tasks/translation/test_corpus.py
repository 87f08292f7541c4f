import dataclasses

import pytest

from quatrain.tasks.translation.corpus import Corpus, LineNumbers


def test_a_corpus_is_frozen():
    corpus = Corpus([("one", "eins")], [], [], ("en", "de"), {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        corpus.dropped = 1


def test_the_location_of_a_pair_counts_lines_that_were_left_out():
    files = (("a.en", "a.de"), ("b.en", "b.de"), ("c.en", "c.de"))
    lines = LineNumbers(files, ends=(3, 3, 5), numbers=(0, 2, 3, 4))
    locations = [lines.location(pair, pair % 2) for pair in range(4)]
    assert locations == ["a.en:1", "a.de:3", "c.en:1", "c.de:2"]


def test_generated_pairs_are_counted_from_one():
    corpus = Corpus([("one", "eins")], [], [], ("en", "de"), {})
    assert corpus.location(0, 1) == "training pair 1"
