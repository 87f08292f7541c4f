import dataclasses

import pytest

from quatrain.tasks.translation.corpus import Corpus


def test_a_corpus_is_frozen_and_drops_nothing_unless_told():
    corpus = Corpus([("one", "eins")], [], [], ("en", "de"), {})
    assert corpus.dropped == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        corpus.dropped = 1
