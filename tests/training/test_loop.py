import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quatrain.specs import DataError, SpecError, StoredFileError, StudyError
from quatrain.training import NonFiniteLoss, train
from quatrain.training import checkpoint as stored
from quatrain.training.devices import Devices

SCRIPT = Path(__file__).parent / "train_tiny.py"
RICH = {"average": 0.9, "accumulate": 2, "clip_norm": 1.0, "monitor_every": 3}
VARIANTS = [
    {"optimizer": "adam", **RICH},
    {"optimizer": "sgd", "weight_decay": 0.01, **RICH},
    {"precision": "bfloat16", **RICH},
    {"precision": "float16", **RICH},
    {"optimizer": "adam"},
]
NAMES = ["adam", "sgd", "bfloat16", "float16", "plain"]


class Stop(Exception):  # noqa: N818
    """What stands for a kill."""


def after(number):
    """A call that raises Stop when it is called once more than `number` times."""
    calls = 0

    def call(_):
        nonlocal calls
        calls += 1
        if calls > number:
            raise Stop

    return call


def run(tiny, folder, notify=lambda _: None, seed=7, num_workers=0, **arguments):
    return train(tiny.Task(**arguments), folder, seed=seed, num_workers=num_workers, notify=notify)


@pytest.fixture(scope="module", params=VARIANTS, ids=NAMES)
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def unbroken():
    """The weights and the log of never-killed trainings, by variant."""
    return {}


def expect_unbroken(tiny, unbroken, variant, tmp_path_factory, result, folder):
    key = str(variant)
    if key not in unbroken:
        whole = tmp_path_factory.mktemp("whole")
        unbroken[key] = tiny.weights_of(run(tiny, whole, **variant)), tiny.lines_of(whole)
    assert tiny.same(tiny.weights_of(result), unbroken[key][0])
    assert tiny.lines_of(folder) == unbroken[key][1]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.integers(0, 23), min_size=1, max_size=3))
def test_a_training_stopped_at_any_batch_ends_as_if_it_never_was(
    tiny, variant, unbroken, tmp_path_factory, kills
):
    folder = tmp_path_factory.mktemp("broken")
    for number in kills:
        try:
            run(tiny, folder, **variant, trouble=after(number))
        except Stop:
            continue
    result = run(tiny, folder, **variant)
    expect_unbroken(tiny, unbroken, variant, tmp_path_factory, result, folder)


def test_the_number_of_workers_changes_no_result(
    tiny, variant, unbroken, tmp_path_factory, tmp_path
):
    result = run(tiny, tmp_path, num_workers=2, **variant)
    expect_unbroken(tiny, unbroken, variant, tmp_path_factory, result, tmp_path)


@pytest.mark.parametrize("reports", [0, 1, 2])
def test_a_training_stopped_at_any_report_ends_as_if_it_never_was(
    tiny, variant, unbroken, tmp_path_factory, tmp_path, reports
):
    with pytest.raises(Stop):
        run(tiny, tmp_path, **variant, notify=after(reports))
    result = run(tiny, tmp_path, **variant)
    expect_unbroken(tiny, unbroken, variant, tmp_path_factory, result, tmp_path)


def child(folder, arguments, batches, launcher=()):
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), json.dumps(arguments)]
    command.append(str(batches))
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "batches"), [({}, 15), ({"die_saving": True}, 0)], ids=["step", "saving"]
)
def test_a_training_killed_by_the_system_ends_as_if_it_never_was(
    tiny, unbroken, tmp_path_factory, tmp_path, arguments, batches
):
    killed = child(tmp_path, VARIANTS[0] | arguments, batches)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / stored.NAME).exists()
    assert not (tmp_path / stored.MODEL).exists()
    result = run(tiny, tmp_path, **VARIANTS[0])
    expect_unbroken(tiny, unbroken, VARIANTS[0], tmp_path_factory, result, tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_a_finished_training_called_again_gives_the_same_without_a_step(tiny, tmp_path):
    first = run(tiny, tmp_path, **RICH)
    again = run(tiny, tmp_path, **RICH, trouble=after(0))
    assert tiny.same(tiny.weights_of(first), tiny.weights_of(again))
    assert again.steps == 12


def test_another_seed_is_another_training(tiny, tmp_path):
    one, other = run(tiny, tmp_path / "1", seed=1), run(tiny, tmp_path / "2", seed=2)
    assert not tiny.same(tiny.weights_of(one), tiny.weights_of(other))


def test_the_model_file_holds_the_weights_that_are_evaluated(tiny, tmp_path):
    result = run(tiny, tmp_path, average=0.9)
    assert not result.objective.training
    fresh = tiny.Objective()
    stored.load_model(tmp_path, fresh)
    assert tiny.same(fresh.state_dict(), tiny.weights_of(result))
    plain = run(tiny, tmp_path / "plain")
    assert not tiny.same(tiny.weights_of(plain), tiny.weights_of(result))


def test_looking_at_the_model_leaves_the_training_as_it_was(tiny, tmp_path):
    looked = run(tiny, tmp_path / "1", average=0.9, monitor_every=1)
    alone = run(tiny, tmp_path / "2", average=0.9)
    assert tiny.same(tiny.weights_of(looked), tiny.weights_of(alone))
    seen = [line for line in tiny.lines_of(tmp_path / "1") if "valid_loss" in line]
    assert [line["step"] for line in seen] == list(range(1, 13))
    assert {line["in_training"] for line in seen} == {0.0}


def test_the_log_has_the_mean_of_each_window(tiny, tmp_path):
    run(tiny, tmp_path / "each", report_every=1)
    run(tiny, tmp_path / "window", report_every=5)
    each, window = tiny.lines_of(tmp_path / "each"), tiny.lines_of(tmp_path / "window")
    assert [line["step"] for line in window] == [5, 10, 12]
    sizes = [3, 3, 3, 3, 3, 3, 2, 3, 3, 3, 3, 3]
    for line, (start, end) in zip(window, [(0, 5), (5, 10), (10, 12)], strict=True):
        losses = [one["loss"] * size for one, size in zip(each, sizes, strict=True)]
        assert line["loss"] == pytest.approx(sum(losses[start:end]) / sum(sizes[start:end]))
        assert line["learning_rate"] == each[end - 1]["learning_rate"]


def test_progress_tells_where_the_training_stands(tiny, tmp_path):
    seen = []
    run(tiny, tmp_path, notify=seen.append)
    assert [(one.step, one.steps, one.rate_unit) for one in seen] == [
        (5, 12, "rows/s"),
        (10, 12, "rows/s"),
        (12, 12, "rows/s"),
    ]
    assert seen[-1].seconds_left == 0.0
    assert all(one.rate > 0 for one in seen)


def without_dropout(tiny, folder, **arguments):
    return tiny.weights_of(run(tiny, folder, dropout=0.0, **arguments))


def test_two_batches_accumulated_are_one_of_twice_the_size(tiny, tmp_path):
    one = without_dropout(tiny, tmp_path / "1", size=4)["linear.weight"]
    two = without_dropout(tiny, tmp_path / "2", size=2, accumulate=2)["linear.weight"]
    assert torch.allclose(one, two, atol=1e-6)


def test_one_step_of_sgd_is_the_mean_gradient_clipped(tiny, tmp_path):
    fields = {"steps": 1, "warmup_steps": 0, "optimizer": "sgd", "learning_rate": 1.0}
    torch.manual_seed(7)
    task = tiny.Task(dropout=0.0, size=20)
    objective = task.build()
    before = objective.linear.weight.detach().clone()
    loss = objective(task.x[task.batches(0)[0]], task.y[task.batches(0)[0]])
    (loss.total / 20).backward()
    gradients = [objective.linear.weight.grad, objective.linear.bias.grad]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    free = without_dropout(tiny, tmp_path / "free", size=20, **fields)["linear.weight"]
    clipped = without_dropout(tiny, tmp_path / "clip", size=20, clip_norm=0.1, **fields)
    assert norm > 0.1
    assert torch.allclose(before - free, gradients[0], atol=1e-6)
    assert torch.allclose(before - clipped["linear.weight"], gradients[0] * 0.1 / norm, atol=1e-6)


def test_a_part_that_slows_itself_down_learns_at_that_share_of_the_rate(tiny, tmp_path):
    arguments = {"optimizer": "sgd", "momentum": 0.0, "steps": 1, "warmup_steps": 0}
    begun = tiny.Task().build
    moved = []
    for factors in ({}, {"linear": 0.1}):
        task = tiny.Task(dropout=0.0, **arguments)

        def build(task=task, factors=factors):
            torch.manual_seed(0)
            objective = begun()
            objective.dropout.p = 0.0
            objective.lr_scales = factors
            return objective

        task.build = build
        after = train(task, tmp_path / str(len(factors)), seed=7).objective.linear.weight
        moved.append(after.detach() - build().linear.weight.detach())
    assert torch.allclose(moved[1], 0.1 * moved[0])
    assert moved[0].abs().min() > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns_and_keeps_float32_weights(tiny, tmp_path, precision):
    fields = {"dropout": 0.0, "steps": 150, "learning_rate": 0.1, "checkpoint_every": 150}
    result = run(tiny, tmp_path, precision=precision, **fields)
    losses = [line["loss"] for line in tiny.lines_of(tmp_path)]
    assert losses[-1] < 0.05 * losses[0]
    assert result.objective.linear.weight.dtype == torch.float32


def test_precision_changes_the_computation(tiny, tmp_path):
    weights = [
        without_dropout(tiny, tmp_path / name, precision=name) for name in ("float32", "bfloat16")
    ]
    assert not tiny.same(*weights)


def poison(tiny, batch):
    task = tiny.Task()
    calls = 0

    def spoil(plan):
        nonlocal calls
        calls += 1
        if calls == batch:
            task.x[plan] = torch.nan

    task.trouble = spoil
    return task


def test_a_loss_that_is_not_a_number_ends_the_training_before_a_checkpoint(tiny, tmp_path):
    with pytest.raises(NonFiniteLoss, match="the loss is nan at step 8"):
        train(poison(tiny, 8), tmp_path, seed=7)
    with pytest.raises(Stop):
        run(tiny, tmp_path, trouble=after(0))
    assert stored.load(tmp_path, trained_parts(tiny), tiny.Task().recipe).step == 4
    assert not (tmp_path / stored.MODEL).exists()


def test_a_checkpoint_beyond_the_last_step_is_no_finished_training(tiny, tmp_path):
    run(tiny, tmp_path)
    with pytest.raises(StoredFileError, match="step 12 of a training of 8"):
        run(tiny, tmp_path, steps=8)
    run(tiny, tmp_path, steps=16)


def test_what_a_kill_left_half_written_is_removed_when_the_training_goes_on(tiny, tmp_path):
    own = (stored.NAME, stored.MODEL, "metrics.jsonl")
    left = [tmp_path / f".{name}.0123abcd.tmp" for name in own]
    left += [tmp_path / f".{name}.tmp" for name in (stored.NAME, stored.MODEL)]
    others = [tmp_path / f".{name}.0123abcd.tmp" for name in ("failure.json", "hypotheses.txt")]
    for path in left + others:
        path.write_text("half")
    run(tiny, tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)


def trained_parts(tiny):
    model = tiny.Objective()
    optimizer = torch.optim.AdamW(model.parameters())
    return stored.Trained(
        model, optimizer, {}, torch.amp.GradScaler("cpu", enabled=False), {"rows": "0"}
    )


def test_weights_that_are_not_finite_are_never_kept(tiny, tmp_path):
    task = tiny.Task(optimizer="sgd")
    build = task.build

    def explode():
        objective = build()
        objective.linear.weight.register_hook(lambda gradient: gradient * torch.inf)
        return objective

    task.build = explode
    task.recipe = task.recipe.model_copy(update={"checkpoint_every": 1})
    with pytest.raises(NonFiniteLoss, match="weights are not finite after step 1"):
        train(task, tmp_path, seed=7)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_damaged_checkpoint_and_one_of_another_model_are_told(tiny, tmp_path):
    run(tiny, tmp_path)
    with pytest.raises(StoredFileError, match=r"is of shape .*: delete this file"):
        run(tiny, tmp_path, width=4)
    path = tmp_path / stored.NAME
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoredFileError, match="delete this file"):
        run(tiny, tmp_path)
    path.unlink()
    assert run(tiny, tmp_path).steps == 12


def test_a_full_disk_ends_the_training_and_costs_no_more_than_the_last_stretch(
    tiny, unbroken, tmp_path_factory, tmp_path, monkeypatch
):
    real, calls = os.fsync, []

    def fsync(number):
        calls.append(number)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StudyError, match="No space left on device") as told:
        run(tiny, tmp_path, **VARIANTS[4])
    assert str(tmp_path) in str(told.value)
    monkeypatch.undo()
    result = run(tiny, tmp_path, **VARIANTS[4])
    expect_unbroken(tiny, unbroken, VARIANTS[4], tmp_path_factory, result, tmp_path)


def test_changed_data_are_not_trained_on_from_an_old_checkpoint(tiny, tmp_path):
    run(tiny, tmp_path)
    with pytest.raises(DataError, match="bring the former files back"):
        run(tiny, tmp_path, data={"rows": "1"})


def test_a_task_without_batches_is_told(tiny, tmp_path):
    task = tiny.Task()
    task.batches = lambda _epoch: []
    with pytest.raises(DataError, match="training batches"):
        train(task, tmp_path, seed=7)


def test_a_folder_that_cannot_be_made_is_told(tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match="expected a folder that can be written"):
        run(tiny, tmp_path / "file" / "run")


def test_a_step_that_the_processes_cannot_share_is_refused(tiny, tmp_path, monkeypatch):
    class Pair(Devices):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.processes = 2

    monkeypatch.setattr("quatrain.training.loop.Devices", Pair)
    with pytest.raises(SpecError, match="accumulate is 3, expected a multiple of the 2 processes"):
        run(tiny, tmp_path, accumulate=3)


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1")
TORCHRUN += ("--nproc-per-node", "2")


@pytest.mark.slow
def test_two_processes_train_as_one_and_resume_together(tiny, tmp_path):
    # Twenty rows in batches of three: seven batches an epoch, which two processes share unevenly.
    arguments = {"dropout": 0.0, "average": 0.9, "steps": 12, "accumulate": 2}
    alone = run(tiny, tmp_path / "alone", **arguments)
    folder = tmp_path / "both"
    folder.mkdir()
    short = child(folder, arguments, 6, TORCHRUN)
    assert short.returncode != 0
    assert (folder / stored.NAME).exists()
    assert not list(folder.glob("weights-*"))
    done = child(folder, arguments, 0, TORCHRUN)
    assert done.returncode == 0, done.stderr
    weights = [json.loads((folder / f"weights-{rank}.json").read_text()) for rank in (0, 1)]
    assert weights[0] == weights[1]
    for name in ("linear.weight", "linear.bias"):
        expected = alone.objective.state_dict()[name]
        assert torch.allclose(torch.tensor(weights[0][name]), expected, atol=1e-6)
    lines, expected = tiny.lines_of(folder), tiny.lines_of(tmp_path / "alone")
    assert [line["step"] for line in lines] == [line["step"] for line in expected]
    assert [line["loss"] for line in lines] == pytest.approx(
        [line["loss"] for line in expected], rel=1e-5
    )
