"""That the theory of the probes holds of the networks: what a mechanism cannot see."""

import pytest
import torch

from quatrain.nn import parse_mixer
from quatrain.tasks.probes import ProbeNetwork


def network(mixer, features=(32, 2), seed=0):
    torch.manual_seed(seed)
    built = ProbeNetwork(features, 32, 64, parse_mixer(mixer, heads=1)).double().eval()
    for parameter in built.parameters():  # as if trained: not even a zero stays what it was
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return built


def sequence(length=32):
    torch.manual_seed(1)
    tokens = torch.stack((torch.randint(32, (1, length)), torch.zeros(1, length).long()), -1)
    tokens[0, 5, 1] = 1
    return tokens


@pytest.mark.parametrize("mixer", ["w/o", "0000", "1111", "regular@9", "0010+deformable@9"])
def test_each_token_has_a_score_for_each_value(mixer):
    assert network(mixer)(sequence()).shape == (1, 32, 32)


def test_networks_of_one_seed_begin_with_the_same_embedding_and_readout():
    first, second = (
        dict(ProbeNetwork((32, 2), 32, 64, parse_mixer(mixer, 1)).named_parameters())
        for mixer in ("0110", "deformable@9")
        if torch.manual_seed(3)
    )
    shared = first.keys() & second.keys()
    assert {"embedding.weight", "constant", "readout.weight"} <= shared
    assert all(torch.equal(first[name], second[name]) for name in shared)


@pytest.mark.parametrize("mixer", ["0000", "w/o"])
def test_uniform_weights_do_not_see_whose_mark_it_is(mixer):
    marked, moved = sequence(), sequence()
    moved[0, 5, 1], moved[0, 9, 1] = 0, 1
    scores = [network(mixer)(tokens)[0, 20] for tokens in (marked, moved)]
    assert torch.allclose(*scores)


@pytest.mark.parametrize("mixer", ["0001", "0100"])
def test_weights_by_position_add_value_and_mark_and_bind_neither_to_the_other(mixer):
    """The effect of a mark is the same whatever value bears it, and wherever the query is."""
    effects = []
    for value in (3, 17):
        plain = sequence()
        plain[0, 5] = torch.tensor([value, 0])
        marked = plain.clone()
        marked[0, 5, 1] = 1
        effects.append((network(mixer)(marked) - network(mixer)(plain))[0, 20])
    assert torch.allclose(*effects)


@pytest.mark.parametrize("mixer", ["0010", "1000", "1111", "0110"])
def test_content_terms_bind_them(mixer):
    effects = []
    for value in (3, 17):
        plain = sequence()
        plain[0, 5] = torch.tensor([value, 0])
        marked = plain.clone()
        marked[0, 5, 1] = 1
        effects.append((network(mixer)(marked) - network(mixer)(plain))[0, 20])
    assert not torch.allclose(*effects)


@pytest.mark.parametrize("mixer", ["regular@9", "lightweight@9", "dynamic@9"])
def test_a_convolution_sees_four_tokens_each_way_and_no_more(mixer):
    tokens, built = sequence(), network(mixer)
    for distance, seen in ((4, True), (5, False)):
        other = tokens.clone()
        other[0, 16 + distance, 0] = (other[0, 16 + distance, 0] + 1) % 32
        assert torch.equal(built(tokens)[0, 16], built(other)[0, 16]) is not seen


@pytest.mark.parametrize("mixer", ["0000", "0010", "1000"])
def test_without_position_a_sequence_is_a_bag(mixer):
    tokens, built = sequence(), network(mixer)
    order = torch.cat((torch.tensor([0]), 1 + torch.randperm(31)))
    assert torch.allclose(built(tokens)[0, 0], built(tokens[:, order])[0, 0])


@pytest.mark.parametrize("mixer", ["regular@9", "lightweight@9"])
def test_where_weights_do_not_depend_on_the_query_tokens_only_add_up(mixer):
    """A change of the pointer does not change what a change of another's value does."""
    built, tokens = network(mixer, features=(32, 8)), sequence()
    effects = []
    for pointer in (0, 6):
        before = tokens.clone()
        before[0, 16, 1] = pointer
        after = before.clone()
        after[0, 18, 0] = (after[0, 18, 0] + 1) % 32
        effects.append((built(after) - built(before))[0, 16])
    assert torch.allclose(*effects)


def test_a_constant_component_makes_e1_hold_e3_and_e2_hold_e4():
    """With a query projection that reads the constant alone, they agree to the last digit."""
    for asking, silent, bias in (("1000", "0010", "key_bias"), ("0100", "0001", "position_bias")):
        rich, poor = network(asking), network(silent)
        rich.load_state_dict(poor.state_dict(), strict=False)
        constant = torch.zeros(64).double()
        constant[0] = 1.0
        for built in (rich, poor):
            built.constant.data.copy_(constant)
            built.embedding.weight.data[:, 0] = 0.0
        rich.mixer.query.weight.data.zero_()
        rich.mixer.query.weight.data[:, 0] = getattr(poor.mixer, bias).data.flatten()
        assert torch.allclose(rich(sequence()), poor(sequence()))
