import pytest
import torch

from quatrain.nn import parse_mixer
from quatrain.specs import SpecError
from quatrain.tasks.probes import (
    LocalitySpec,
    OffsetSpec,
    PointerSpec,
    ProbeNetwork,
    ProbeSpec,
    RecallSpec,
    SaliencySpec,
)
from quatrain.training import Polynomial, Recipe, train

SHORT = Recipe(
    steps=40,
    learning_rate=1.5e-2,
    warmup_steps=10,
    schedule=Polynomial(power=1.0),
    clip_norm=1.0,
    monitor_every=20,
)


def open_task(folder, seed=0, **fields):
    return ProbeSpec(**fields).open(None, folder, seed)


def test_a_spec_is_restored_from_json():
    spec = ProbeSpec(probe=RecallSpec(far=3), mixer=parse_mixer("dynamic@9"))
    assert ProbeSpec.from_json(spec.to_json()) == spec
    with pytest.raises(SpecError) as raised:
        ProbeSpec(probe={"kind": "riddle"})
    assert raised.value.field == "ProbeSpec.probe"


def test_the_held_out_part_is_the_same_for_every_seed_and_mixer(tmp_path):
    one = open_task(tmp_path, 0, mixer=None)
    two = open_task(tmp_path, 5)
    assert one.data_hashes == two.data_hashes
    assert torch.equal(one.held_out.tokens, two.held_out.tokens)
    assert list(one.data_hashes) == ["saliency"]
    assert open_task(tmp_path, probe=SaliencySpec(far=4)).data_hashes != one.data_hashes


def test_sequences_differ_between_seeds_epochs_batches_and_the_held_out_part(tmp_path):
    task, other = open_task(tmp_path, 0), open_task(tmp_path, 1)
    plans = [*task.batches(0)[:3], *task.batches(1)[:3]]
    batches = [task.collate(plan)["tokens"] for plan in plans]
    batches.append(other.collate(plans[0])["tokens"])
    rows = [tuple(row.flatten().tolist()) for batch in batches for row in batch]
    held_out = {tuple(row.flatten().tolist()) for row in task.held_out.tokens}
    assert len(set(rows)) == len(rows)
    assert not held_out & set(rows)
    assert torch.equal(task.collate(plans[4])["tokens"], batches[4])


@pytest.mark.parametrize("mixer", ["w/o", "1111", "0010+deformable@9"])
def test_cost_is_counted(tmp_path, mixer):
    task = open_task(tmp_path, probe=SaliencySpec(), mixer=parse_mixer(mixer, heads=1))
    cost = task.cost(task.build())
    assert cost["multiply_adds"] == cost["multiply_adds_closed_form"] > 0
    assert cost["paper_multiply_adds"] > 0
    assert cost["parameters"] > 0


def test_counting_is_better_than_a_random_guess(tmp_path):
    for probe in (SaliencySpec(), OffsetSpec(), PointerSpec(), RecallSpec(), LocalitySpec()):
        task = open_task(tmp_path, probe=probe)
        counting = task.evaluate(task.build(), tmp_path).metrics["counting"]
        assert 100 / 32 < counting < 16


def test_the_accuracy_of_an_untrained_network_is_low(tmp_path):
    task = open_task(tmp_path)
    assert task.evaluate(task.build(), tmp_path).metrics["accuracy"] < 15


@pytest.mark.parametrize(("mixer", "low", "high"), [("0010", 95, 100), ("0001", 0, 20)])
def test_saliency_is_learned_by_e3_and_not_by_e4(tmp_path, mixer, low, high):
    task = open_task(tmp_path, mixer=parse_mixer(mixer, heads=1), recipe=SHORT)
    result = train(task, tmp_path, seed=0)
    metrics = task.evaluate(result.objective, tmp_path).metrics
    assert low <= metrics["accuracy"] <= high
    assert task.monitor(result.objective)["accuracy"] == metrics["accuracy"]
    assert '"accuracy"' in (tmp_path / "metrics.jsonl").read_text()


def test_the_example_batch_is_a_training_batch(tmp_path):
    task = open_task(tmp_path, batch=7)
    assert task.example_batch()["tokens"].shape == (7, 32, 2)
    loss = task.build()(**task.example_batch())
    assert float(loss.weight) == float((task.example_batch()["answers"] >= 0).sum())


# Theory of the probes, checked on untrained networks: what each mechanism cannot see.


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
