"""Theory of the probes, checked on untrained networks: what each mechanism cannot see."""

import pytest
import torch

from quatrain.nn import parse_mixer
from quatrain.tasks.probes import ProbeNetwork


def network(mixer, features=(32, 2), seed=0):
    torch.manual_seed(seed)
    model = ProbeNetwork(features, 32, 64, parse_mixer(mixer, heads=1)).double().eval()
    for parameter in model.parameters():  # so that no parameter is zero, as after training
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


def sequence(length=32):
    torch.manual_seed(1)
    tokens = torch.stack((torch.randint(32, (1, length)), torch.zeros(1, length).long()), -1)
    tokens[0, 5, 1] = 1
    return tokens


@pytest.mark.parametrize("mixer", ["w/o", "0000", "1111", "regular@9", "0010+deformable@9"])
def test_each_token_has_a_score_for_each_value(mixer):
    assert network(mixer)(sequence()).shape == (1, 32, 32)


def test_networks_of_one_seed_have_the_same_initial_embedding_and_readout():
    first, second = (
        dict(ProbeNetwork((32, 2), 32, 64, parse_mixer(mixer, 1)).named_parameters())
        for mixer in ("0110", "deformable@9")
        if torch.manual_seed(3)
    )
    shared = first.keys() & second.keys()
    assert {"embedding.weight", "constant", "readout.weight"} <= shared
    assert all(torch.equal(first[name], second[name]) for name in shared)


@pytest.mark.parametrize("mixer", ["0000", "w/o"])
def test_uniform_weights_do_not_see_which_token_is_marked(mixer):
    marked, moved = sequence(), sequence()
    moved[0, 5, 1], moved[0, 9, 1] = 0, 1
    scores = [network(mixer)(tokens)[0, 20] for tokens in (marked, moved)]
    assert torch.allclose(*scores)


@pytest.mark.parametrize("mixer", ["0001", "0100"])
def test_weights_by_position_do_not_bind_value_and_mark(mixer):
    """The effect of a mark does not depend on the value of its token."""
    effects = []
    for value in (3, 17):
        plain = sequence()
        plain[0, 5] = torch.tensor([value, 0])
        marked = plain.clone()
        marked[0, 5, 1] = 1
        effects.append((network(mixer)(marked) - network(mixer)(plain))[0, 20])
    assert torch.allclose(*effects)


@pytest.mark.parametrize("mixer", ["0010", "1000", "1111", "0110"])
def test_content_terms_bind_value_and_mark(mixer):
    effects = []
    for value in (3, 17):
        plain = sequence()
        plain[0, 5] = torch.tensor([value, 0])
        marked = plain.clone()
        marked[0, 5, 1] = 1
        effects.append((network(mixer)(marked) - network(mixer)(plain))[0, 20])
    assert not torch.allclose(*effects)


@pytest.mark.parametrize("mixer", ["regular@9", "lightweight@9", "dynamic@9"])
def test_a_convolution_sees_four_tokens_each_way(mixer):
    tokens, model = sequence(), network(mixer)
    for distance, inside in ((4, True), (5, False)):
        other = tokens.clone()
        other[0, 16 + distance, 0] = (other[0, 16 + distance, 0] + 1) % 32
        assert torch.equal(model(tokens)[0, 16], model(other)[0, 16]) is not inside


@pytest.mark.parametrize("mixer", ["0000", "0010", "1000"])
def test_without_position_a_sequence_is_a_bag(mixer):
    tokens, model = sequence(), network(mixer)
    order = torch.cat((torch.tensor([0]), 1 + torch.randperm(31)))
    assert torch.allclose(model(tokens)[0, 0], model(tokens[:, order])[0, 0])


@pytest.mark.parametrize("mixer", ["regular@9", "lightweight@9"])
def test_without_weights_by_query_tokens_contribute_independently(mixer):
    """The effect of another token's value does not depend on the pointer."""
    model, tokens = network(mixer, features=(32, 8)), sequence()
    effects = []
    for pointer in (0, 6):
        before = tokens.clone()
        before[0, 16, 1] = pointer
        after = before.clone()
        after[0, 18, 0] = (after[0, 18, 0] + 1) % 32
        effects.append((model(after) - model(before))[0, 16])
    assert torch.allclose(*effects)


def test_with_a_constant_component_e1_includes_e3_and_e2_includes_e4():
    """They are equal if the query projection reads the constant alone."""
    for content, biased, bias in (("1000", "0010", "key_bias"), ("0100", "0001", "position_bias")):
        general, special = network(content), network(biased)
        general.load_state_dict(special.state_dict(), strict=False)
        constant = torch.zeros(64).double()
        constant[0] = 1.0
        for model in (general, special):
            model.constant.data.copy_(constant)
            model.embedding.weight.data[:, 0] = 0.0
        general.mixer.query.weight.data.zero_()
        general.mixer.query.weight.data[:, 0] = getattr(special.mixer, bias).data.flatten()
        assert torch.allclose(general(sequence()), special(sequence()))
