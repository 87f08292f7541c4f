import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from quatrain.nn import parse_mixer
from quatrain.nn.layers import GatedResidual
from quatrain.nn.parameters import initialize_by_name
from quatrain.specs import ALL_TERM_SETS
from quatrain.tasks.probes.task import ProbeSpec
from quatrain.training import Loss, train
from quatrain.training.fingerprint import DRAWS, draw_parameters, fingerprint

TERM_SETS = tuple(map(str, ALL_TERM_SETS))


class Scores(nn.Module):
    """A residual block with a mixer, whose scale starts at zero, between two linear layers."""

    def __init__(self, mixer):
        super().__init__()
        self.first = nn.Linear(3, 16)
        self.block = nn.Identity() if mixer is None else GatedResidual(mixer.build(16, ndim=1))
        self.last = nn.Linear(16, 1)

    def forward(self, x):
        return Loss(self.last(self.block(self.first(x))).square().sum(), torch.tensor(7.0))


class MixerTask:
    """A batch of random sequences for `Scores`."""

    def __init__(self, name, seed=0, **ignored):
        self.mixer, self.seed = parse_mixer(name, heads=2), seed
        self.ignored = ignored

    def build(self):
        return Scores(self.mixer)

    def batches(self, epoch):
        return [epoch]

    def collate(self, plan):
        generator = torch.Generator().manual_seed(self.seed + plan)
        return {"x": torch.randn(2, 9, 3, generator=generator)}


def digits(task):
    return tuple(f"{loss:.5e}" for loss in fingerprint(task, "cpu") or ())


def test_a_field_without_effect_leaves_the_fingerprint():
    first, second = (digits(MixerTask("0110", width=width)) for width in (3, 5))
    assert first == second
    assert len(first) == len(set(first)) == DRAWS


def test_mixers_behind_a_scale_of_zero_differ():
    names = ("w/o", *TERM_SETS, "0110@3", "deformable", "dynamic@3", "0010+deformable")
    tasks = [MixerTask(name) for name in names]
    initial = set()
    for task in tasks:
        objective = task.build()
        initialize_by_name(objective, seed=0)
        initial.add(objective(**task.collate(0)).total.item())
    assert len(initial) == 1
    assert len(set(map(digits, tasks))) == len(names)


def test_the_sixteen_term_sets_of_a_probe_differ(tmp_path):
    specs = [ProbeSpec(mixer=parse_mixer(terms, heads=2)) for terms in TERM_SETS]
    tasks = [spec.open(None, tmp_path, 0) for spec in specs]
    assert len(set(map(digits, tasks))) == len(TERM_SETS)


def test_windows_wider_than_all_sequences_do_not_differ():
    assert digits(MixerTask("1111@31")) == digits(MixerTask("1111")) != digits(MixerTask("1111@3"))


def test_an_example_batch_of_one_repeated_token_would_not_tell_terms_apart():
    def one_token(name):
        task = MixerTask(name)
        task.collate = lambda _: {"x": torch.tensor([1.0, 2.0, 3.0]).expand(2, 9, 3)}
        return digits(task)

    assert one_token("1111") == one_token("0010") == one_token("0000") != ()


def test_seeds_have_batches_of_their_own():
    assert digits(MixerTask("0110", seed=1)) != digits(MixerTask("0110", seed=0))


def test_modules_of_one_name_get_equal_parameters_with_a_variance_of_one_over_the_inputs():
    modules = [
        nn.ModuleDict({"linear": nn.Linear(400, 300), "words": nn.Embedding(99, 64), **other})
        for other in ({}, {"gamma": nn.Linear(2, 2)})
    ]
    for module in modules:
        draw_parameters(module, 0)
    first, second = (dict(module.named_parameters()) for module in modules)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert first["linear.weight"].std().item() == pytest.approx(400**-0.5, rel=0.02)
    assert first["words.weight"].std().item() == pytest.approx(1, rel=0.03)
    assert first["linear.bias"].std().item() == pytest.approx(1, rel=0.1)
    draw_parameters(modules[1], 1)
    assert not torch.equal(first["linear.weight"], second["linear.weight"])


def test_dropout_is_off_and_buffers_stay(tiny):
    assert digits(tiny.Task(dropout=0.5)) == digits(tiny.Task(dropout=0.0))
    statistics = nn.BatchNorm1d(3).eval()
    draw_parameters(statistics, 0)
    assert statistics.running_var.tolist() == [1, 1, 1]


def test_training_is_the_same_bit_for_bit(tiny, tmp_path):
    def trained(name, prepare):
        torch.manual_seed(1)
        task = tiny.Task()
        prepare(task)
        result = train(task, tmp_path / name, seed=3)
        return tiny.weights_of(result), tiny.lines_of(tmp_path / name), torch.get_rng_state()

    weights, lines, state = trained("plain", lambda _: None)
    other, other_lines, other_state = trained("with", lambda task: fingerprint(task, "cpu"))
    assert tiny.same(weights, other)
    assert lines == other_lines
    assert torch.equal(state, other_state)


def test_the_random_states_are_restored(tiny):
    task = tiny.Task()
    build = task.build

    def random_build():
        random.random()
        np.random.rand()  # noqa: NPY002 - a task may use the global state
        return build()

    task.build = random_build

    def states():
        return random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002

    def seed():
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)

    seed()
    expected = states()
    seed()
    fingerprint(task, "cpu")
    assert states() == expected


def test_an_example_of_equal_numbers_has_no_fingerprint():
    def own(example):
        return SimpleNamespace(
            build=lambda: nn.Linear(3, 1), example_batch=lambda: {"input": example}
        )

    assert fingerprint(own(torch.ones(2, 3)), "cpu") is None
    assert len(fingerprint(own(torch.eye(3)), "cpu") or ()) == DRAWS


def test_a_loss_that_is_not_finite_is_refused(tiny):
    task = tiny.Task()
    task.y = task.y * float("nan")
    with pytest.raises(ArithmeticError, match="nan"):
        fingerprint(task, "cpu")
