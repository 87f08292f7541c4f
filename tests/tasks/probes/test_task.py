import pytest
import torch

from quatrain.nn import parse_mixer
from quatrain.specs import InputError, SpecError
from quatrain.tasks.probes import (
    LocalitySpec,
    OffsetSpec,
    PointerSpec,
    ProbeSpec,
    RecallSpec,
    SaliencySpec,
)
from quatrain.tasks.probes.task import counting_accuracy
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


def test_counting_accuracy_needs_a_signed_type(tmp_path):
    samples = open_task(tmp_path, probe=SaliencySpec()).held_out
    expected = counting_accuracy(samples, 32)
    assert counting_accuracy(samples._replace(answers=samples.answers.int()), 32) == expected
    with pytest.raises(InputError):
        counting_accuracy(samples._replace(answers=samples.answers.to(torch.uint8)), 32)
