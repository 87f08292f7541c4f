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
from quatrain.training import NonFiniteLoss, checkpoint, train
from quatrain.training.devices import Devices
from quatrain.training.loop import seed_step

SCRIPT = Path(__file__).parent / "train_tiny.py"
RICH = {"average": 0.9, "accumulate": 2, "clip_norm": 1.0, "monitor_every": 3}
VARIANTS = {
    "adam": {"optimizer": "adam", **RICH},
    "sgd": {"optimizer": "sgd", "weight_decay": 0.01, **RICH},
    "bfloat16": {"precision": "bfloat16", **RICH},
    "float16": {"precision": "float16", **RICH},
    "plain": {"optimizer": "adam"},
    "sampled": {"attention": True, "terms": "sampled", **RICH},
    "sandwich": {"attention": True, "terms": "sandwich", "terms_at": "attention", **RICH},
}


class Interrupted(Exception):  # noqa: N818
    """Raised in place of a kill."""


def interrupt_after(number):
    """A callback that raises Interrupted when it is called for the `number + 1`-th time."""
    calls = 0

    def callback(_):
        nonlocal calls
        calls += 1
        if calls > number:
            raise Interrupted

    return callback


def run(tiny, folder, notify=lambda _: None, seed=7, num_workers=0, **arguments):
    return train(tiny.Task(**arguments), folder, seed=seed, num_workers=num_workers, notify=notify)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A function from a variant to the weights and the log of its uninterrupted training."""
    results = {}

    def result(tiny, variant):
        if variant not in results:
            folder = tmp_path_factory.mktemp("whole")
            weights = tiny.weights_of(run(tiny, folder, **VARIANTS[variant]))
            results[variant] = weights, tiny.lines_of(folder)
        return results[variant]

    return result


def check_equal(tiny, expected, result, folder):
    weights, lines = expected
    assert tiny.same(tiny.weights_of(result), weights)
    assert tiny.lines_of(folder) == lines


def resume_after(tiny, folder, variant, batches):
    """Interrupt a training after each of these numbers of batches, then finish it."""
    for number in batches:
        try:
            run(tiny, folder, **VARIANTS[variant], on_batch=interrupt_after(number))
        except Interrupted:
            continue
    return run(tiny, folder, **VARIANTS[variant])


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_interrupted_training_resumes_to_the_same_result(tiny, uninterrupted, tmp_path, variant):
    result = resume_after(tiny, tmp_path, variant, (9, 6))
    check_equal(tiny, uninterrupted(tiny, variant), result, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.integers(0, 23), min_size=1, max_size=3))
def test_a_training_interrupted_at_any_batch_resumes_to_the_same_result(
    tiny, uninterrupted, tmp_path_factory, variant, batches
):
    folder = tmp_path_factory.mktemp("interrupted")
    result = resume_after(tiny, folder, variant, batches)
    check_equal(tiny, uninterrupted(tiny, variant), result, folder)


@pytest.mark.parametrize("reports", [0, 2])
def test_a_training_interrupted_at_a_report_resumes_to_the_same_result(
    tiny, uninterrupted, tmp_path, reports
):
    with pytest.raises(Interrupted):
        run(tiny, tmp_path, **VARIANTS["adam"], notify=interrupt_after(reports))
    result = run(tiny, tmp_path, **VARIANTS["adam"])
    check_equal(tiny, uninterrupted(tiny, "adam"), result, tmp_path)


def test_the_number_of_workers_changes_no_result(tiny, uninterrupted, tmp_path):
    result = run(tiny, tmp_path, num_workers=2, **VARIANTS["adam"])
    check_equal(tiny, uninterrupted(tiny, "adam"), result, tmp_path)


def run_in_process(folder, arguments, batches, launcher=()):
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), json.dumps(arguments)]
    command.append(str(batches))
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "batches"), [({}, 15), ({"kill_in_save": True}, 0)], ids=["step", "save"]
)
def test_a_killed_training_resumes_to_the_same_result(
    tiny, uninterrupted, tmp_path, arguments, batches
):
    killed = run_in_process(tmp_path, VARIANTS["adam"] | arguments, batches)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / checkpoint.NAME).exists()
    assert not (tmp_path / checkpoint.MODEL).exists()
    result = run(tiny, tmp_path, **VARIANTS["adam"])
    check_equal(tiny, uninterrupted(tiny, "adam"), result, tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_a_finished_training_is_not_repeated(tiny, tmp_path):
    first = run(tiny, tmp_path, **RICH)
    second = run(tiny, tmp_path, **RICH, on_batch=interrupt_after(0))
    assert tiny.same(tiny.weights_of(first), tiny.weights_of(second))
    assert (second.steps, second.session_seconds, first.session_seconds) == (12, 0.0, first.seconds)


def test_the_seed_changes_the_result(tiny, tmp_path):
    first, second = run(tiny, tmp_path / "1", seed=1), run(tiny, tmp_path / "2", seed=2)
    assert not tiny.same(tiny.weights_of(first), tiny.weights_of(second))


def test_the_random_state_is_a_function_of_seed_step_and_process():
    def draw(*arguments):
        seed_step(*arguments)
        return tuple(torch.rand(4).tolist())

    keys = [(seed, step, process) for seed in (0, 1) for step in (1, 2) for process in (0, 1)]
    numbers = [draw(*key) for key in keys]
    assert numbers == [draw(*key) for key in keys]
    assert len(set(numbers)) == len(keys)


def test_the_model_file_holds_the_evaluated_weights(tiny, tmp_path):
    result = run(tiny, tmp_path, average=0.9)
    assert not result.objective.training
    objective = tiny.Objective()
    checkpoint.load_model(tmp_path, objective)
    assert tiny.same(objective.state_dict(), tiny.weights_of(result))
    without_ema = run(tiny, tmp_path / "plain")
    assert not tiny.same(tiny.weights_of(without_ema), tiny.weights_of(result))


def test_validation_does_not_change_the_training(tiny, tmp_path):
    with_validation = run(tiny, tmp_path / "1", average=0.9, monitor_every=1)
    without = run(tiny, tmp_path / "2", average=0.9)
    assert tiny.same(tiny.weights_of(with_validation), tiny.weights_of(without))
    lines = [line for line in tiny.lines_of(tmp_path / "1") if "valid_loss" in line]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert {line["in_training"] for line in lines} == {0.0}


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


def test_progress_is_reported(tiny, tmp_path):
    reports = []
    run(tiny, tmp_path, notify=reports.append)
    assert [(one.step, one.steps, one.rate_unit) for one in reports] == [
        (5, 12, "rows/s"),
        (10, 12, "rows/s"),
        (12, 12, "rows/s"),
    ]
    assert reports[-1].seconds_left == 0.0
    assert all(one.rate > 0 for one in reports)


def without_dropout(tiny, folder, **arguments):
    return tiny.weights_of(run(tiny, folder, dropout=0.0, **arguments))


def test_two_accumulated_batches_equal_one_of_twice_the_size(tiny, tmp_path):
    one = without_dropout(tiny, tmp_path / "1", size=4)["linear.weight"]
    two = without_dropout(tiny, tmp_path / "2", size=2, accumulate=2)["linear.weight"]
    assert torch.allclose(one, two, atol=1e-6)


def test_one_step_of_sgd_follows_the_mean_gradient_clipped(tiny, tmp_path):
    fields = {"steps": 1, "warmup_steps": 0, "optimizer": "sgd", "learning_rate": 1.0}
    torch.manual_seed(7)
    task = tiny.Task(dropout=0.0, size=20)
    objective = task.build()
    initial = objective.linear.weight.detach().clone()
    loss = objective(task.x[task.batches(0)[0]], task.y[task.batches(0)[0]])
    (loss.total / 20).backward()
    gradients = [objective.linear.weight.grad, objective.linear.bias.grad]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    free = without_dropout(tiny, tmp_path / "free", size=20, **fields)["linear.weight"]
    clipped = without_dropout(tiny, tmp_path / "clip", size=20, clip_norm=0.1, **fields)
    assert norm > 0.1
    assert torch.allclose(initial - free, gradients[0], atol=1e-6)
    assert torch.allclose(initial - clipped["linear.weight"], gradients[0] * 0.1 / norm, atol=1e-6)


def test_a_module_with_a_learning_rate_scale_learns_at_that_rate(tiny, tmp_path):
    task = tiny.Task(dropout=0.0, optimizer="sgd", momentum=0.0, steps=1, warmup_steps=0)
    build = task.build
    updates = []
    for scales in ({}, {"linear": 0.1}):

        def scaled(scales=scales):
            torch.manual_seed(0)
            objective = build()
            objective.lr_scales = scales
            return objective

        task.build = scaled
        weight = train(task, tmp_path / str(len(scales)), seed=7).objective.linear.weight
        updates.append(weight.detach() - scaled().linear.weight.detach())
    assert torch.allclose(updates[1], 0.1 * updates[0])
    assert updates[0].abs().min() > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns_and_stores_float32_weights(tiny, tmp_path, precision):
    fields = {"dropout": 0.0, "steps": 80, "learning_rate": 0.2, "checkpoint_every": 80}
    result = run(tiny, tmp_path, precision=precision, **fields)
    losses = [line["loss"] for line in tiny.lines_of(tmp_path)]
    assert losses[-1] < 0.05 * losses[0]
    assert result.objective.linear.weight.dtype == torch.float32


def test_precision_changes_the_computation(tiny, tmp_path):
    weights = [
        without_dropout(tiny, tmp_path / name, precision=name) for name in ("float32", "bfloat16")
    ]
    assert not tiny.same(*weights)


def test_a_loss_that_is_not_finite_ends_the_training(tiny, tmp_path):
    task = tiny.Task()
    calls = 0

    def set_nan(plan):
        nonlocal calls
        calls += 1
        if calls == 8:
            task.x[plan] = torch.nan

    task.on_batch = set_nan
    with pytest.raises(NonFiniteLoss, match="step 8"):
        train(task, tmp_path, seed=7)
    assert not (tmp_path / checkpoint.MODEL).exists()
    steps = []
    run(tiny, tmp_path, report_every=1, notify=lambda progress: steps.append(progress.step))
    assert steps[0] == 5  # the checkpoint of step 4 is the last


def test_weights_that_are_not_finite_are_not_saved(tiny, tmp_path):
    task = tiny.Task(optimizer="sgd", checkpoint_every=1)
    build = task.build

    def with_infinite_gradient():
        objective = build()
        objective.linear.weight.register_hook(lambda gradient: gradient * torch.inf)
        return objective

    task.build = with_infinite_gradient
    with pytest.raises(NonFiniteLoss, match="step 1"):
        train(task, tmp_path, seed=7)
    assert not list(tmp_path.glob("*.safetensors"))


def test_temporary_files_of_a_killed_training_are_removed(tiny, tmp_path):
    own = [
        tmp_path / f".{name}.0123abcd.tmp"
        for name in (checkpoint.NAME, checkpoint.MODEL, "metrics.jsonl")
    ]
    others = [tmp_path / f".{name}.0123abcd.tmp" for name in ("failure.json", "hypotheses.txt")]
    for path in own + others:
        path.write_text("half")
    run(tiny, tmp_path)
    assert not any(path.exists() for path in own)
    assert all(path.exists() for path in others)


def test_a_damaged_checkpoint_and_one_of_another_model_are_refused(tiny, tmp_path):
    run(tiny, tmp_path)
    with pytest.raises(StoredFileError):
        run(tiny, tmp_path, width=4)
    path = tmp_path / checkpoint.NAME
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoredFileError):
        run(tiny, tmp_path)
    path.unlink()
    assert run(tiny, tmp_path).steps == 12


def test_a_training_stopped_by_a_full_disk_resumes_to_the_same_result(
    tiny, uninterrupted, tmp_path, monkeypatch
):
    fsync, calls = os.fsync, []

    def fail_second_time(number):
        calls.append(number)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", fail_second_time)
    with pytest.raises(StudyError) as raised:
        run(tiny, tmp_path, **VARIANTS["plain"])
    assert str(tmp_path) in str(raised.value)
    monkeypatch.undo()
    result = run(tiny, tmp_path, **VARIANTS["plain"])
    check_equal(tiny, uninterrupted(tiny, "plain"), result, tmp_path)


def test_a_task_without_batches_is_refused(tiny, tmp_path):
    task = tiny.Task()
    task.batches = lambda _epoch: []
    with pytest.raises(DataError) as raised:
        train(task, tmp_path, seed=7)
    assert raised.value.field == "training batches"


def test_a_folder_that_cannot_be_created_is_an_error(tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StudyError):
        run(tiny, tmp_path / "file" / "run")


def test_accumulate_must_be_divisible_by_the_number_of_processes(tiny, tmp_path, monkeypatch):
    class Pair(Devices):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.processes = 2

    monkeypatch.setattr("quatrain.training.loop.Devices", Pair)
    with pytest.raises(SpecError) as raised:
        run(tiny, tmp_path, accumulate=3)
    assert raised.value.field == "Recipe.accumulate"


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1")
TORCHRUN += ("--nproc-per-node", "2")


@pytest.mark.slow
@pytest.mark.parametrize("terms", ["fixed", "sampled", "sandwich"])
def test_two_processes_train_as_one_and_resume_together(tiny, tmp_path, terms):
    # Twenty rows in batches of three: seven batches an epoch, which two processes share unevenly.
    arguments = {"dropout": 0.0, "average": 0.9, "steps": 12, "accumulate": 2}
    if terms != "fixed":  # Adam would divide gradients of attention that are only rounding
        arguments |= {"terms": terms, "attention": True, "optimizer": "sgd"}
    single = run(tiny, tmp_path / "single", **arguments)
    folder = tmp_path / "both"
    folder.mkdir()
    killed = run_in_process(folder, arguments, 6, TORCHRUN)
    assert killed.returncode != 0
    assert (folder / checkpoint.NAME).exists()
    assert not list(folder.glob("weights-*"))
    done = run_in_process(folder, arguments, 0, TORCHRUN)
    assert done.returncode == 0, done.stderr
    weights = [json.loads((folder / f"weights-{rank}.json").read_text()) for rank in (0, 1)]
    assert weights[0] == weights[1]
    for name, expected in single.objective.state_dict().items():
        if expected.is_floating_point():
            assert torch.allclose(torch.tensor(weights[0][name]), expected, atol=1e-6)
    lines, expected = tiny.lines_of(folder), tiny.lines_of(tmp_path / "single")
    assert [line["step"] for line in lines] == [line["step"] for line in expected]
    assert [line["loss"] for line in lines] == pytest.approx(
        [line["loss"] for line in expected], rel=1e-5
    )
