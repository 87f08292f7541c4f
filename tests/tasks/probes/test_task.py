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
from quatrain.tasks.probes.task import counting
from quatrain.training import Polynomial, Recipe, train

SHORT = Recipe(
    steps=60,
    learning_rate=1.5e-2,
    warmup_steps=10,
    schedule=Polynomial(power=1.0),
    clip_norm=1.0,
    monitor_every=30,
)


def opened(folder, seed=0, **fields):
    return ProbeSpec(**fields).open(None, folder, seed)


def test_a_spec_is_the_same_after_json_and_names_its_probe():
    spec = ProbeSpec(probe=RecallSpec(far=3), mixer=parse_mixer("dynamic@9"))
    assert ProbeSpec.from_json(spec.to_json()) == spec
    with pytest.raises(SpecError, match=r"ProbeSpec\.probe"):
        ProbeSpec(probe={"kind": "riddle"})


def test_the_held_out_part_is_the_same_for_every_seed_and_mixer(tmp_path):
    one = opened(tmp_path, 0, mixer=None)
    two = opened(tmp_path, 5)
    assert one.data_hashes == two.data_hashes
    assert torch.equal(one.held_out.tokens, two.held_out.tokens)
    assert list(one.data_hashes) == ["saliency"]
    assert opened(tmp_path, probe=SaliencySpec(far=4)).data_hashes != one.data_hashes


def test_batches_differ_by_seed_epoch_and_number_and_are_never_those_held_out(tmp_path):
    task, other = opened(tmp_path, 0), opened(tmp_path, 1)
    plans = [*task.batches(0)[:3], *task.batches(1)[:3]]
    drawn = [task.collate(plan)["tokens"] for plan in plans] + [other.collate(plans[0])["tokens"]]
    rows = [tuple(row.flatten().tolist()) for part in drawn for row in part]
    held_out = {tuple(row.flatten().tolist()) for row in task.held_out.tokens}
    assert len(set(rows)) == len(rows)
    assert not held_out & set(rows)
    assert torch.equal(task.collate(plans[4])["tokens"], drawn[4])


@pytest.mark.parametrize("mixer", ["w/o", "1111", "0010+deformable@9"])
def test_cost_is_counted(tmp_path, mixer):
    task = opened(tmp_path, probe=SaliencySpec(), mixer=parse_mixer(mixer, heads=1))
    cost = task.cost(task.build())
    assert cost["multiply_adds"] == cost["multiply_adds_closed_form"] > 0
    assert cost["parameters"] > 0


def test_counting_is_better_than_a_blind_guess_and_worse_than_knowing(tmp_path):
    for probe in (SaliencySpec(), OffsetSpec(), PointerSpec(), RecallSpec(), LocalitySpec()):
        task = opened(tmp_path, probe=probe)
        counting = task.evaluate(task.build(), tmp_path).metrics["counting"]
        assert 100 / 32 < counting < 16


def test_an_untrained_network_guesses(tmp_path):
    task = opened(tmp_path)
    assert task.evaluate(task.build(), tmp_path).metrics["accuracy"] < 15


@pytest.mark.parametrize(("mixer", "low", "high"), [("0010", 95, 100), ("0001", 0, 20)])
def test_saliency_is_learnt_by_e3_and_not_by_e4(tmp_path, mixer, low, high):
    task = opened(tmp_path, mixer=parse_mixer(mixer, heads=1), recipe=SHORT)
    result = train(task, tmp_path, seed=0)
    metrics = task.evaluate(result.objective, tmp_path).metrics
    assert low <= metrics["accuracy"] <= high
    assert task.monitor(result.objective)["accuracy"] == metrics["accuracy"]
    assert '"accuracy"' in (tmp_path / "metrics.jsonl").read_text()


def test_a_batch_for_measuring_is_one_of_training(tmp_path):
    task = opened(tmp_path, batch=7)
    assert task.probe_batch()["tokens"].shape == (7, 32, 2)
    loss = task.build()(**task.probe_batch())
    assert float(loss.weight) == float((task.probe_batch()["answers"] >= 0).sum())


def test_counting_refuses_answers_that_cannot_say_unasked(tmp_path):
    part = opened(tmp_path, probe=SaliencySpec()).held_out
    wanted = counting(part, 32)
    assert counting(part._replace(answers=part.answers.int()), 32) == wanted
    with pytest.raises(InputError, match=r"answers is .torch\.uint8"):
        counting(part._replace(answers=part.answers.to(torch.uint8)), 32)
