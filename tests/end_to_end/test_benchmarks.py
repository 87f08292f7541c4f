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
    inputs,
    mixers,
    networks,
    photos,
    plots,
    sequences,
    steps,
    translator,
    vision_steps,
)
from benchmarks.outcome import Outcome, processor
from benchmarks.plain_transformer import PlainTransformer

from quatrain.ops.attention import attend
from quatrain.ops.support import Support
from quatrain.paper.vision import overhead
from quatrain.specs import Term
from quatrain.tasks.detection import CocoSpec
from quatrain.tasks.detection.digits import digit_boxes
from quatrain.tasks.segmentation import FoldersSpec
from quatrain.tasks.segmentation.digits import digit_masks


@pytest.mark.slow
def test_the_translator_benchmark_measures_both_and_gives_their_ratios():
    found = translator.measure(tokens=32, rounds=1)
    speeds = {(row["part"], row["network"]): row["tokens/s"] for row in found.rows}
    assert len(speeds) == 4
    for row in found.rows:
        ours = speeds[row["part"], "quatrain 1111"]
        assert row["speed of ours / its own"] == pytest.approx(ours / row["tokens/s"])


def test_the_plain_transformer_decodes_with_caches_what_it_computes_without():
    plain = PlainTransformer().eval()
    source = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    target = torch.tensor([[1, 20, 30], [1, 40, 50]])
    with torch.no_grad():
        state, steps = plain.start(source), []
        for tokens in target.T:
            logits, state = plain.step(tokens, state)
            steps.append(logits)
        torch.testing.assert_close(torch.stack(steps, 1), plain.logits(source, target))


def test_the_plain_transformer_has_the_size_of_ours():
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    plain, ours = PlainTransformer(), translator.ours("1111")
    assert count(plain) == pytest.approx(count(ours), rel=0.15)


@pytest.mark.slow
def test_the_mixers_benchmark_holds_each_way_against_the_other_library(monkeypatch):
    small = {
        name: {**case, "batch": 1, "channels": 32, "sizes": [6] * len(case["sizes"]), "window": 3}
        for name, case in mixers.CASES.items()
    }
    monkeypatch.setattr(mixers, "CASES", dict(list(small.items())[1:3]))
    monkeypatch.setattr(mixers, "peak_memory", lambda *_, **__: 2)  # it has tests of its own
    found = mixers.measure(rounds=1, device="cpu")
    assert [(row["method"], row["against"]) for row in found.rows] == [
        ("gather", "torchvision"),
        ("ours", "unfold"),
    ]
    assert all(row["time ratio"] > 0 and row["memory ratio"] == 1 for row in found.rows)


@pytest.mark.parametrize("terms", ["0000", "0010", "0011", "0110", "1000", "1111"])
@pytest.mark.parametrize("name", ["4x6", "5x4/3x2"])
def test_the_dense_attention_of_the_benchmark_is_the_same_attention(terms, name):
    grid, chosen = attention.grid_of(name), Term.parse(terms)
    made = attention.operands(chosen, grid, heads=2, device="cpu", dtype="float32")
    expected = attend(chosen, made, grid, Support(), "reference")
    torch.testing.assert_close(attention.dense(chosen, made, grid), expected)


def test_the_attention_benchmark_holds_ours_against_dense_and_torchs_kernel(monkeypatch):
    monkeypatch.setattr(attention, "peak_memory", lambda *_, **__: 2)  # it has tests of its own
    attention._memory.cache_clear()
    monkeypatch.setattr(attention, "MOST_PAIRS_TIMED", 24 * 24)
    found = attention.measure("4x6,5x5", "0011,1111", rounds=1)
    assert [(row["map"], row["terms"], row["pass"]) for row in found.rows] == [
        (name, terms, part)
        for name in ("4x6", "5x5")
        for terms in ("0011", "1111")
        for part in ("forward", "training")
    ]
    assert all((row["time / dense"] == "-") == (row["map"] == "5x5") for row in found.rows)
    assert all(row["time / SDPA"] > 0 and row["memory / dense"] == 1 for row in found.rows)
    assert plots.time_svg(found.rows).count("</svg>") == 1
    attention._memory.cache_clear()


def test_processors_of_one_name_are_told_apart(tmp_path):
    table = tmp_path / "cpuinfo"
    assert processor(table) == platform.machine()
    lines = ["cpu family\t: 23", "model\t\t: 1", "model name\t: AMD EPYC", ""]
    table.write_text("\n".join(lines))
    assert processor(table) == "family 23 model 1"


def test_the_sequences_benchmark_tells_how_memory_and_time_grow(monkeypatch):
    monkeypatch.setattr(sequences, "peak_memory", lambda _, asked: 2**20 * asked["length"])
    found = sequences.measure("0010,1111", [8, 16, 32], rounds=1)
    assert [(row["terms"], row["order"]) for row in found.rows] == [
        (terms, order) for terms in ("0010", "1111") for order in ("both ways", "causal")
    ]
    assert all(row["MiB at 32"] == 32 and row["memory growth"] == 2 for row in found.rows)
    assert all(row["time growth"] > 0 for row in found.rows)


def test_the_steps_benchmark_asks_at_both_positions():
    found = steps.measure(early=2, late=6, rounds=1)
    assert all(row["ms at 2"] > 0 and row["ms at 6"] > 0 for row in found.rows)


@pytest.mark.parametrize("sizes", [[7], [4, 5]])
def test_the_unfold_formulation_is_the_same_convolution(sizes):
    case = {"batch": 2, "channels": 32, "sizes": sizes, "window": 3, "device": "cpu"}
    outputs = []
    for way in ("ours", "unfold"):
        torch.manual_seed(0)
        forward, _ = mixers._dynamic(way, **case)
        outputs.append(forward())
    torch.testing.assert_close(*outputs)


def test_the_networks_benchmark_holds_each_mixer_against_the_plain_network(monkeypatch):
    monkeypatch.setattr(networks, "peak_memory", lambda _, asked, **__: 2 + len(asked["mixer"]))
    monkeypatch.setattr(networks, "step", lambda **_: lambda: None)
    networks._memory.cache_clear()
    found = networks.measure("w/o,0010,0010+deformable", "32x64", rounds=1, device="cpu")
    networks._memory.cache_clear()
    plain, attended, both, *steps = found.rows
    mixed = ["w/o", "0010", "0010+deformable"]
    assert [row["network"] for row in found.rows] == [
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
    assert all(row["time ratio"] > 0 and row["ms"] > 0 for row in found.rows)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["detector", "segmenter"])
def test_the_plain_network_of_the_benchmark_has_the_weights_and_the_losses_of_ours(
    network, monkeypatch
):
    for side in ("LONGER", "CROP"):
        monkeypatch.setattr(vision_steps, side, 64)
    spec = vision_steps._spec(network, "w/o")
    task = spec.open(None, Path(), seed=0)
    batch = task.collate(task.batches(0)[0])
    plain, ours = vision_steps._plain(spec).train(), task.build().train()
    named = dict(plain.named_parameters())
    copied = [weight for name, weight in named.items() if ".fc." not in name]
    with torch.no_grad():
        for theirs, mine in zip(copied, ours.parameters(), strict=True):
            theirs.copy_(mine)
    for part in (*plain.modules(), *ours.modules()):
        if type(part).__name__ == "Dropout":
            setattr(part, "p" if hasattr(part, "p") else "rate", 0.0)
    torch.manual_seed(0)
    found = plain(**batch).item()
    torch.manual_seed(0)
    expected = ours(**batch)
    assert found == pytest.approx(expected.total.item() / expected.weight.item(), rel=1e-4)


@pytest.mark.slow
def test_a_step_of_the_benchmark_trains(monkeypatch):
    for side in ("LONGER", "CROP"):
        monkeypatch.setattr(vision_steps, side, 64)
    for mixer in ("0010", vision_steps.PLAIN):
        vision_steps.step("segmenter", mixer, "cpu")()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")
def test_the_inputs_benchmark_reads_files_with_each_number_of_readers(monkeypatch):
    monkeypatch.setattr(inputs, "IMAGES", 8)
    monkeypatch.setattr(inputs, "READERS", (0, 1))
    monkeypatch.setattr(photos, "_PHOTO", (96, 64))
    found = inputs.measure(steps=3, rounds=1, device="cpu")
    assert [(row["network"], row["readers"]) for row in found.rows] == [
        ("detector", "0"),
        ("detector", "1"),
        ("segmenter", "0"),
        ("segmenter", "1"),
    ]
    assert all(0 < row["waits"] < 1 < row["ms a step"] for row in found.rows)


@pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")
def test_the_photographs_of_the_benchmark_hold_the_boxes_and_classes_of_their_scenes(tmp_path):
    photos.write_detection(tmp_path / "boxes", count=3)
    read = CocoSpec(test="val").read(tmp_path / "boxes")
    scenes = digit_boxes(photos._scenes(3))
    assert all("categories without a box" in note for note in read.skipped)
    assert read.train[0].image.shape == (3, 768, 1024)
    ends = read.train.truths[1].xywh / [4, 3, 4, 3]
    assert ends == pytest.approx(scenes.train.truths[1].xywh)
    photos.write_segmentation(tmp_path / "masks", count=3)
    masks = FoldersSpec(test="val").read(tmp_path / "masks").train[2]
    made = digit_masks(photos._scenes(3)).train[2]
    assert masks.image.shape == (3, 360, 480)
    assert set(masks.label.unique().tolist()) == set(made.label.unique().tolist())


@pytest.mark.parametrize("text", ["0110", "dynamic@31", "1111+deformable"])
def test_the_networks_benchmark_counts_what_the_papers_tables_do(text):
    size = "800x1344"  # 1333 as the detector pads it
    plain, _ = networks.multiply_adds("w/o", size)
    paper, executed = networks.multiply_adds(text, size)
    expected = overhead("detection", text)
    assert (paper - plain, executed - plain) == (expected.computed, expected.executed)


def test_the_networks_benchmark_moves_the_taps_of_deformable_convolutions():
    offset = networks.residual("w/o+deformable").body.layer4[0].conv2.block.offset
    assert offset.weight.std().item() == pytest.approx((9 * 512) ** -0.5, rel=0.05)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("attention --maps 64x64,9y6", 'maps is "9y6"'),
        ("attention --maps 8x8/3x4", "such as 3x3"),
        ("attention --terms 0011,012", 'terms is "012"'),
        ("attention --dtype float31", "bfloat16"),
        ("attention --device cudda", 'device is "cudda"'),
        ("mixers --rounds 0", '"0" is no whole number above 0'),
        ("mixers --devise cpu", "unrecognized arguments: --devise"),
        ("networks --mixers 0010,dynamo@3", 'terms is "dynamo"'),
        ("networks --size 800", 'size is "800"'),
        ("sequences --terms 0011,012", 'terms is "012"'),
        ("steps --late never", '"never" is no whole number'),
        ("translator --tokens 3", "tokens is 3, expected 16 or more"),
        ("performance --check nothing.json", "No such file"),
    ],
)
def test_a_mistyped_argument_is_told_in_a_sentence_before_anything_is_measured(
    asked, found, monkeypatch, capsys
):
    module, *arguments = asked.split()
    monkeypatch.setattr("benchmarks.alternation.alternate", lambda *_, **__: pytest.fail("timed"))
    monkeypatch.setattr("quatrain.cost.peak_memory", lambda *_, **__: pytest.fail("measured"))
    monkeypatch.setattr(sys, "argv", [f"benchmarks.{module}", *arguments])
    importlib.import_module(f"benchmarks.{module}")
    with pytest.warns(RuntimeWarning, match="found in sys.modules"), pytest.raises(SystemExit) as e:
        runpy.run_module(f"benchmarks.{module}", run_name="__main__")
    assert e.value.code == 2
    said = capsys.readouterr()
    assert found in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("rounds", "at_least", "counted"), [(3, 0.0, 3), (3, 0.625, 10), (3, 0.125, 3)]
)
def test_calls_that_take_a_moment_have_more_rounds(rounds, at_least, counted, monkeypatch):
    clock = itertools.count(step=1 / 32)  # looked at before and after each call
    monkeypatch.setattr(alternation.time, "perf_counter", lambda: next(clock))
    calls = {"ours": lambda: None, "theirs": lambda: None}
    found = alternation.alternate(calls, rounds=rounds, warmup=2, at_least=at_least)
    assert [len(each) for each in found.values()] == [counted] * 2
    assert alternation.median_ratio(found["ours"], found["theirs"]) == pytest.approx(1)


def test_what_is_asked_is_measured_and_told(monkeypatch, capsys):
    def measure(rounds, terms, size):
        return Outcome.here("mixers", rounds=rounds, rows=[{"terms": terms, "size": size}])

    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks.mixers", "--terms", "0110", "--json"])
    command.run("What.", measure, rounds=3, terms="", size=8)
    told = Outcome.from_json(capsys.readouterr().out)
    assert (told.rounds, told.rows) == (3, [{"terms": "0110", "size": 8}])
    monkeypatch.setattr(sys, "argv", ["benchmarks.mixers"])
    command.run("What.", measure, rounds=3, terms="0001", size=8)
    assert capsys.readouterr().out.splitlines()[1:] == ["terms  size", "0001   8"]


def test_what_was_measured_before_a_failure_has_been_told(capsys):
    with pytest.raises(ZeroDivisionError):
        command.measured([4, 2, 0, 1], lambda case: {"share": 1 / case})
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line) for line in lines] == [{"share": 0.25}, {"share": 0.5}]
    assert command.measured([4], lambda case: {"share": 1 / case}) == [{"share": 0.25}]
