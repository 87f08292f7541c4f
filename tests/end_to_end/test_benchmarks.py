import functools
import importlib
import itertools
import json
import platform
import runpy
import sys
from pathlib import Path

import pytest
import torch
from benchmarks import (
    alternation,
    attention,
    command,
    images,
    inputs,
    mixers,
    networks,
    plots,
    sequences,
    steps,
    translator,
    vision_steps,
)
from benchmarks.plain_transformer import PlainTransformer
from benchmarks.result import Result, processor
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from quatrain.models.resnet import ResNetSpec
from quatrain.ops.attention import AttentionInputs, attend
from quatrain.ops.support import Support
from quatrain.paper.vision import overhead
from quatrain.specs import Term
from quatrain.tasks.detection import CocoSpec
from quatrain.tasks.detection.data import digit_boxes
from quatrain.tasks.segmentation import FoldersSpec
from quatrain.tasks.segmentation.data import digit_masks


@pytest.mark.slow
def test_translator_benchmark_measures_both_translators():
    result = translator.measure(tokens=32, rounds=1)
    speeds = {(row["part"], row["network"]): row["tokens/s"] for row in result.rows}
    assert len(speeds) == 4
    for row in result.rows:
        ours = speeds[row["part"], "quatrain 1111"]
        assert row["speed of ours / its own"] == pytest.approx(ours / row["tokens/s"])


def test_plain_transformer_decodes_the_same_with_and_without_cache():
    plain = PlainTransformer().eval()
    source = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    target = torch.tensor([[1, 20, 30], [1, 40, 50]])
    with torch.no_grad():
        state, steps = plain.start(source), []
        for tokens in target.T:
            logits, state = plain.step(tokens, state)
            steps.append(logits)
        torch.testing.assert_close(torch.stack(steps, 1), plain.logits(source, target))


def test_plain_transformer_has_the_size_of_ours():
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    plain, ours = PlainTransformer(), translator.ours("1111")
    assert count(plain) == pytest.approx(count(ours), rel=0.15)


@pytest.mark.slow
def test_mixers_benchmark_compares_with_the_other_implementation(monkeypatch):
    small = {
        name: {**case, "batch": 1, "channels": 32, "sizes": [6] * len(case["sizes"]), "window": 3}
        for name, case in mixers.CASES.items()
    }
    monkeypatch.setattr(mixers, "CASES", dict(list(small.items())[1:3]))
    monkeypatch.setattr(mixers, "peak_memory", lambda *_, **__: 2)  # it has tests of its own
    result = mixers.measure(rounds=1, device="cpu")
    assert [(row["method"], row["against"]) for row in result.rows] == [
        ("gather", "torchvision"),
        ("ours", "unfold"),
    ]
    assert all(row["time ratio"] > 0 and row["memory ratio"] == 1 for row in result.rows)


@pytest.mark.parametrize("terms", ["0000", "0010", "0011", "0110", "1000", "1111"])
@pytest.mark.parametrize("name", ["4x6", "5x4/3x2"])
def test_dense_attention_of_the_benchmark_equals_the_reference(terms, name):
    grid, chosen = attention.grid_of(name), Term.parse(terms)
    operands = attention.operands(chosen, grid, heads=2, device="cpu", dtype="float32")
    expected = attend(AttentionInputs(chosen, operands, grid, Support()), "reference")
    torch.testing.assert_close(attention.dense(chosen, operands, grid), expected)


def test_attention_benchmark_compares_with_dense_and_sdpa(monkeypatch):
    monkeypatch.setattr(attention, "peak_memory", lambda *_, **__: 2)  # it has tests of its own
    attention._memory.cache_clear()
    monkeypatch.setattr(attention, "MOST_PAIRS_TIMED", 24 * 24)
    result = attention.measure("4x6,5x5", "0011,1111", rounds=1)
    assert [(row["map"], row["terms"], row["pass"]) for row in result.rows] == [
        (name, terms, part)
        for name in ("4x6", "5x5")
        for terms in ("0011", "1111")
        for part in ("forward", "training")
    ]
    assert all((row["time / dense"] == "-") == (row["map"] == "5x5") for row in result.rows)
    assert all(row["time / SDPA"] > 0 and row["memory / dense"] == 1 for row in result.rows)
    assert plots.time_svg(result.rows).count("</svg>") == 1
    attention._memory.cache_clear()


def test_processor_is_named_by_family_and_model(tmp_path):
    table = tmp_path / "cpuinfo"
    assert processor(table) == platform.machine()
    lines = ["cpu family\t: 23", "model\t\t: 1", "model name\t: AMD EPYC", ""]
    table.write_text("\n".join(lines))
    assert processor(table) == "family 23 model 1"


def test_sequences_benchmark_measures_growth_of_memory_and_time(monkeypatch):
    monkeypatch.setattr(sequences, "peak_memory", lambda _, arguments: 2**20 * arguments["length"])
    result = sequences.measure("0010,1111", [8, 16, 32], rounds=1)
    assert [(row["terms"], row["order"]) for row in result.rows] == [
        (terms, order) for terms in ("0010", "1111") for order in ("both ways", "causal")
    ]
    assert all(row["MiB at 32"] == 32 and row["memory growth"] == 2 for row in result.rows)
    assert all(row["time growth"] > 0 for row in result.rows)


def test_steps_benchmark_measures_both_positions():
    result = steps.measure(early=2, late=6, rounds=1)
    assert all(row["ms at 2"] > 0 and row["ms at 6"] > 0 for row in result.rows)


@pytest.mark.parametrize("sizes", [[7], [4, 5]])
def test_unfold_formulation_equals_dynamic_convolution(sizes):
    case = {"batch": 2, "channels": 32, "sizes": sizes, "window": 3, "device": "cpu"}
    outputs = []
    for method in ("ours", "unfold"):
        torch.manual_seed(0)
        forward, _ = mixers._dynamic(method, **case)
        outputs.append(forward())
    torch.testing.assert_close(*outputs)


def test_grid_sample_formulation_equals_the_sampled_sum():
    case = {"batch": 2, "channels": 8, "sizes": [[4, 5], [2, 3]], "points": 3, "heads": 2}
    outputs, gradients = [], []
    for method in ("ours", "grid_sample"):
        torch.manual_seed(0)
        forward, leaves = mixers._sampled(method, **case, device="cpu")
        outputs.append(forward())
        gradients.append(list(torch.autograd.grad(outputs[-1].square().sum(), leaves)))
    gradients[1][1] = gradients[1][1].flip(-1)
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*gradients)


@pytest.mark.slow
def test_networks_benchmark_compares_with_the_plain_network(monkeypatch):
    monkeypatch.setattr(
        networks, "peak_memory", lambda _, arguments, **__: 2 + len(arguments["mixer"])
    )
    monkeypatch.setattr(networks, "step", lambda **_: lambda: None)
    monkeypatch.setattr(networks, "ResNetSpec", functools.partial(ResNetSpec, depth=18))
    networks._memory.cache_clear()
    result = networks.measure("w/o,0010,0010+deformable", "32x64", rounds=1, device="cpu")
    networks._memory.cache_clear()
    plain, attended, both, *steps = result.rows
    mixed = ["w/o", "0010", "0010+deformable"]
    assert [row["network"] for row in result.rows] == [
        f"{network} {mixer}"
        for network in ("ResNet-50", "detector", "segmenter")
        for mixer in mixed
    ]
    assert all(row["G paper"] == "-" for row in steps)
    assert plain["memory ratio"] == 1
    assert attended["memory ratio"] == 6 / 5
    assert plain["G paper"] == plain["G executed"]
    assert both["G paper"] == attended["G paper"] > plain["G paper"]
    assert both["G executed"] > attended["G executed"]
    assert all(row["time ratio"] > 0 and row["ms"] > 0 for row in result.rows)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["detector", "segmenter"])
def test_plain_network_has_the_weights_and_the_loss_of_ours(network, monkeypatch):
    for side in ("LONGER", "CROP"):
        monkeypatch.setattr(vision_steps, side, 64)
    spec = vision_steps._spec(network, "w/o")
    task = spec.open(None, Path(), seed=0)
    batch = task.collate(task.batches(0)[0])
    # torchvision draws a random number to choose among sizes; ours has one size
    monkeypatch.setattr(GeneralizedRCNNTransform, "torch_choice", lambda _, sizes: sizes[0])
    torch.manual_seed(0)
    plain, ours = vision_steps._plain(spec).train(), task.build().train()
    named = dict(plain.named_parameters())
    copied = [weight for name, weight in named.items() if ".fc." not in name]
    with torch.no_grad():
        for theirs, mine in zip(copied, ours.parameters(), strict=True):
            theirs.copy_(mine)
    for part in (*plain.modules(), *ours.modules()):
        if type(part).__name__ == "Dropout":
            part.p = 0.0
    torch.manual_seed(0)
    loss = plain(**batch).item()
    torch.manual_seed(0)
    expected = ours(**batch)
    assert loss == pytest.approx(expected.total.item() / expected.weight.item(), rel=1e-4)


@pytest.mark.slow
def test_vision_step_trains(monkeypatch):
    for side in ("LONGER", "CROP"):
        monkeypatch.setattr(vision_steps, side, 64)
    for mixer in ("0010", vision_steps.PLAIN):
        vision_steps.step("segmenter", mixer, "cpu")()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")
def test_inputs_benchmark_trains_with_each_number_of_workers(monkeypatch):
    monkeypatch.setattr(inputs, "IMAGES", 8)
    monkeypatch.setattr(inputs, "NUM_WORKERS", (0, 1))
    monkeypatch.setattr(images, "_DETECTION_SIZE", (96, 64))
    result = inputs.measure(steps=3, rounds=1, device="cpu")
    assert [(row["network"], row["readers"]) for row in result.rows] == [
        ("detector", "0"),
        ("detector", "1"),
        ("segmenter", "0"),
        ("segmenter", "1"),
    ]
    assert all(0 < row["waits"] < 1 < row["ms a step"] for row in result.rows)


@pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")
def test_image_files_have_the_boxes_and_classes_of_their_scenes(tmp_path):
    images.write_detection(tmp_path / "boxes", count=3)
    read = CocoSpec(test="val").read(tmp_path / "boxes")
    scenes = digit_boxes(images._scenes(3))
    assert all("categories without a box" in note for note in read.data_notes)
    assert read.train[0].image.shape == (3, 768, 1024)
    ends = read.train.ground_truths[1].xywh / [4, 3, 4, 3]
    assert ends == pytest.approx(scenes.train.ground_truths[1].xywh)
    images.write_segmentation(tmp_path / "masks", count=3)
    masks = FoldersSpec(test="val").read(tmp_path / "masks").train[2]
    scene = digit_masks(images._scenes(3)).train[2]
    assert masks.image.shape == (3, 360, 480)
    assert set(masks.label.unique().tolist()) == set(scene.label.unique().tolist())


@pytest.mark.slow
@pytest.mark.parametrize("text", ["dynamic@31", "1111+deformable"])
def test_networks_benchmark_counts_as_the_tables_of_the_paper(text):
    size = "800x1344"  # 1333 as the detector pads it
    plain, _ = networks.multiply_adds("w/o", size)
    paper, executed = networks.multiply_adds(text, size)
    expected = overhead("detection", text)
    assert (paper - plain, executed - plain) == (expected.computed, expected.executed)


def test_networks_benchmark_draws_random_offsets():
    offset = networks.resnet("w/o+deformable").body.layer4[0].conv2.block.offset
    assert offset.weight.std().item() == pytest.approx((9 * 512) ** -0.5, rel=0.05)


@pytest.mark.parametrize(
    ("command_line", "message"),
    [
        ("attention --maps 64x64,9y6", "maps='9y6'"),
        ("attention --maps 8x8/3x4", "3x3"),
        ("attention --terms 0011,012", "'012'"),
        ("attention --dtype float31", "bfloat16"),
        ("attention --device cudda", "'cudda'"),
        ("mixers --rounds 0", '"0" is not a whole number above 0'),
        ("mixers --devise cpu", "unrecognized arguments: --devise"),
        ("networks --mixers 0010,dynamo@3", "dynamo"),
        ("networks --size 800", "size='800'"),
        ("sequences --terms 0011,012", "'012'"),
        ("steps --late never", '"never" is not a whole number'),
        ("translator --tokens 3", "tokens=3"),
        ("performance --check nothing.json", "No such file"),
    ],
)
def test_wrong_argument_is_reported_before_any_measurement(
    command_line, message, monkeypatch, capsys
):
    module, *arguments = command_line.split()
    monkeypatch.setattr("benchmarks.alternation.alternate", lambda *_, **__: pytest.fail("timed"))
    monkeypatch.setattr("quatrain.cost.peak_memory", lambda *_, **__: pytest.fail("measured"))
    monkeypatch.setattr(sys, "argv", [f"benchmarks.{module}", *arguments])
    importlib.import_module(f"benchmarks.{module}")
    with pytest.warns(RuntimeWarning, match="found in sys.modules"), pytest.raises(SystemExit) as e:
        runpy.run_module(f"benchmarks.{module}", run_name="__main__")
    assert e.value.code == 2
    output = capsys.readouterr()
    assert message in output.err
    assert (output.out, output.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("rounds", "at_least", "counted"), [(3, 0.0, 3), (3, 0.625, 10), (3, 0.125, 3)]
)
def test_short_calls_have_more_rounds(rounds, at_least, counted, monkeypatch):
    clock = itertools.count(step=1 / 32)  # read before and after each call
    monkeypatch.setattr(alternation.time, "perf_counter", lambda: next(clock))
    calls = {"ours": lambda: None, "theirs": lambda: None}
    seconds = alternation.alternate(calls, rounds=rounds, warmup=2, at_least=at_least)
    assert [len(each) for each in seconds.values()] == [counted] * 2
    assert alternation.median_ratio(seconds["ours"], seconds["theirs"]) == pytest.approx(1)


def test_run_passes_options_and_prints_json_or_text(monkeypatch, capsys):
    def measure(rounds, terms, size):
        return Result.from_rows("mixers", rounds=rounds, rows=[{"terms": terms, "size": size}])

    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks.mixers", "--terms", "0110", "--json"])
    command.run("Help.", measure, rounds=3, terms="", size=8)
    printed = Result.from_json(capsys.readouterr().out)
    assert (printed.rounds, printed.rows) == (3, [{"terms": "0110", "size": 8}])
    monkeypatch.setattr(sys, "argv", ["benchmarks.mixers"])
    command.run("Help.", measure, rounds=3, terms="0001", size=8)
    assert capsys.readouterr().out.splitlines()[1:] == ["terms  size", "0001   8"]


def test_rows_before_a_failure_are_printed(capsys):
    with pytest.raises(ZeroDivisionError):
        command.measure_rows([4, 2, 0, 1], lambda case: {"share": 1 / case})
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line) for line in lines] == [{"share": 0.25}, {"share": 0.5}]
    assert command.measure_rows([4], lambda case: {"share": 1 / case}) == [{"share": 0.25}]
