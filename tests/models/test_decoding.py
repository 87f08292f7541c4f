import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quatrain.models.decoding import DecodingSpec, decode
from quatrain.models.translator import PADDING, TranslatorSpec
from quatrain.nn import AttentionSpec, parse_mixer
from quatrain.specs import InputError, SpecError

BEGIN, END, VOCABULARY = 1, 2, 9
sentences = st.lists(st.integers(3, VOCABULARY - 1), min_size=1, max_size=5)
mixers = st.sampled_from(["1111", "0110", "0010", "w/o", "1101 t5", "0011 alibi"])
specs = st.builds(
    DecodingSpec,
    beam=st.integers(1, 4),
    length_penalty=st.sampled_from([0.0, 0.6, 1.0, 2.0]),
    longest=st.integers(1, 5),
)


def built(seed=0, name="1111"):
    """A translator whose untrained weights are large enough to prefer some tokens."""
    torch.manual_seed(seed)
    self_mixer = parse_mixer(name, heads=2)
    spec = TranslatorSpec(
        width=8,
        layers=1,
        feed_forward=12,
        encoder_self=self_mixer,
        decoder_self=self_mixer,
        cross=self_mixer or AttentionSpec(heads=2),
        norm="pre",
    )
    model = spec.build(VOCABULARY).double().eval()
    with torch.no_grad():
        model.embedding.weight[1:] *= 1.5
    return model


def padded(sources):
    width = max(map(len, sources))
    return torch.tensor([source + [PADDING] * (width - len(source)) for source in sources])


@torch.no_grad()
def next_scores(model, source, prefix):
    """Log-probabilities after `prefix`, without any cache."""
    logits = model(torch.tensor([source]), torch.tensor([prefix]))[0, -1]
    scores = logits.float().log_softmax(-1).tolist()
    return [float("-inf") if token == PADDING else score for token, score in enumerate(scores)]


def slow_search(model, source, spec):
    """Beam search for one sentence with plain lists and no cache."""
    running, finished, count = [(0.0, [BEGIN])], [], 0
    while True:
        candidates = []
        for score, prefix in running:
            following = next_scores(model, source, prefix)
            candidates += [(score + more, [*prefix, token]) for token, more in enumerate(following)]
        candidates.sort(key=lambda candidate: -candidate[0])
        penalty = ((5 + len(running[0][1])) / 6) ** spec.length_penalty
        ended = [one for one in candidates[: spec.beam] if one[1][-1] == END]
        finished += [(score / penalty, tokens[1:-1]) for score, tokens in ended]
        count += len(ended)
        running = [one for one in candidates if one[1][-1] != END][: spec.beam]
        if count >= spec.beam or len(running[0][1]) > len(source) + spec.longest:
            best = max(finished, key=lambda one: one[0], default=(0.0, running[0][1][1:]))
            return best[1]


@settings(max_examples=10)
@given(st.integers(0, 50), mixers, sentences, specs)
def test_it_equals_a_search_without_cache(seed, name, source, spec):
    model = built(seed, name)
    assert decode(model, padded([source]), spec, BEGIN, END) == [slow_search(model, source, spec)]


@settings(max_examples=8)
@given(st.integers(0, 50), mixers, st.lists(sentences, min_size=2, max_size=5), specs)
def test_sentences_of_a_batch_are_independent(seed, name, sources, spec):
    model = built(seed, name)
    together = decode(model, padded(sources), spec, BEGIN, END)
    alone = [decode(model, padded([source]), spec, BEGIN, END)[0] for source in sources]
    assert together == alone


@settings(max_examples=8)
@given(st.integers(0, 50), mixers, sentences)
def test_a_beam_of_one_is_greedy(seed, name, source):
    model, tokens = built(seed, name), [BEGIN]
    for _ in range(len(source) + 4):
        scores = next_scores(model, source, tokens)
        tokens.append(scores.index(max(scores)))
        if tokens[-1] == END:
            break
    expected = [token for token in tokens[1:] if token != END]
    spec = DecodingSpec(beam=1, longest=4)
    assert decode(model, padded([source]), spec, BEGIN, END) == [expected]


@given(st.integers(0, 20), sentences, st.integers(1, 4))
@settings(max_examples=10)
def test_hypotheses_are_no_longer_than_the_limit_and_without_padding_and_end(seed, source, longest):
    spec = DecodingSpec(beam=3, longest=longest, length_penalty=2.0)
    (hypothesis,) = decode(built(seed), padded([source]), spec, BEGIN, END)
    assert len(hypothesis) <= len(source) + longest
    assert not {PADDING, END} & set(hypothesis)


def test_a_larger_length_penalty_gives_longer_hypotheses():
    sources = padded([[3, 4, 5], [6, 7], [8, 3, 6, 5], [4], [5, 5]])
    lengths = []
    for penalty in (0.0, 4.0):
        spec = DecodingSpec(beam=4, longest=6, length_penalty=penalty)
        batches = [decode(built(seed), sources, spec, BEGIN, END) for seed in range(5)]
        lengths.append(sum(len(hypothesis) for batch in batches for hypothesis in batch))
    assert lengths[0] < lengths[1]


def test_an_empty_batch_gives_no_hypotheses():
    empty = torch.zeros(0, 3, dtype=torch.int64)
    assert decode(built(), empty, DecodingSpec(), BEGIN, END) == []


def test_a_translator_in_training_mode_is_refused():
    with pytest.raises(InputError) as caught:
        decode(built().train(), torch.tensor([[3, 4]]), DecodingSpec(), BEGIN, END)
    assert caught.value.field == "translator.training"


@pytest.mark.parametrize("fields", [{"beam": 0}, {"longest": 0}, {"length_penalty": -1.0}])
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(SpecError) as caught:
        DecodingSpec(**fields)
    assert caught.value.field == f"DecodingSpec.{next(iter(fields))}"
