import pytest

from quatrain.specs import SpecError
from quatrain.tasks.translation.numerals import NumeralsSpec

SMALL = NumeralsSpec(train=1000, valid=100, test=100)


@pytest.fixture(scope="module")
def corpus():
    return SMALL.read()


def test_the_parts_have_the_sizes_of_the_spec(corpus):
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (1000, 100, 100)
    assert corpus.languages == ("en", "de")


def test_no_sentence_is_in_two_pairs_on_either_side(corpus):
    pairs = [*corpus.train, *corpus.valid, *corpus.test]
    assert len({source for source, _ in pairs}) == len(pairs)
    assert len({target for _, target in pairs}) == len(pairs)


def test_the_same_spec_generates_the_same_text(corpus):
    assert SMALL.read() == corpus


def test_another_variant_generates_other_text(corpus):
    other = SMALL.model_copy(update={"variant": 1}).read()
    assert other.hashes != corpus.hashes
    assert other.test != corpus.test


def test_held_out_parts_do_not_depend_on_the_number_of_training_pairs(corpus):
    more = NumeralsSpec(train=1100, valid=100, test=100).read()
    assert (more.test, more.valid) == (corpus.test, corpus.valid)
    assert more.train[:1000] == corpus.train


def test_the_german_verb_is_last_after_dass(corpus):
    clauses = [target for _, target in corpus.train if target.startswith("wir wissen, dass")]
    assert clauses
    assert all(target.endswith(" hat") for target in clauses)


def test_quantities_are_reordered(corpus):
    for source, target in corpus.train:
        if source.startswith("the ") and " train left at " in source:
            assert target.startswith("am ")
            assert target.index(" um ") < target.index(" der ")
            return
    pytest.fail("no sentence about a train")


def test_every_slot_is_filled(corpus):
    assert not any("{" in side for pair in corpus.train for side in pair)


def test_sentences_are_short(corpus):
    assert max(len(source.split()) for source, _ in corpus.train) <= 16


def test_too_many_sentences_are_refused():
    with pytest.raises(SpecError) as raised:
        NumeralsSpec(train=10**9)
    assert raised.value.field == "NumeralsSpec.train"
