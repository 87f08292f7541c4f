import dataclasses

import pytest

from quatrain.tasks.translation.corpus import Corpus, Lines


def test_a_corpus_is_frozen_and_drops_nothing_unless_told():
    corpus = Corpus([("one", "eins")], [], [], ("en", "de"), {})
    assert corpus.dropped == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        corpus.dropped = 1


def test_a_pair_is_found_in_its_files_past_lines_that_were_left_out():
    files = (("a.en", "a.de"), ("b.en", "b.de"), ("c.en", "c.de"))
    lines = Lines(files, ends=(3, 3, 5), numbers=(0, 2, 3, 4))
    found = [lines.place(pair, pair % 2) for pair in range(4)]
    assert found == ["a.en:1", "a.de:3", "c.en:1", "c.de:2"]


def test_a_pair_of_made_data_is_counted_from_one():
    corpus = Corpus([("one", "eins")], [], [], ("en", "de"), {})
    assert corpus.place(0, 1) == "training pair 1"
