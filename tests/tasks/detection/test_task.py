import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from quatrain.cost import count_multiply_adds, training_hours
from quatrain.cost.count import build_on_meta, meta_image
from quatrain.models.detector import Detections, DetectorLayers, DetectorSpec, Targets
from quatrain.models.frozen_backbone import FrozenBackboneSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.results.image_scores import read_image_scores
from quatrain.specs import DataError, StoredFileError, identity
from quatrain.tasks.detection import (
    CocoSpec,
    DetectionAugmentation,
    DetectionSpec,
    read_detection,
)
from quatrain.tasks.detection import task as module
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.training import Polynomial, Recipe, train

SCENES = DigitScenesSpec(size=48, train=6, valid=3, test=3)
pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = Recipe(
    steps=4,
    warmup_steps=1,
    learning_rate=1e-3,
    monitor_every=3,
    checkpoint_every=2,
    report_every=1,
    schedule=Polynomial(),
)


def spec(mixer="w/o", width=8, model=None, **changes):
    backbone = ResNetSpec(depth=18, width=width, norm="group", mixer=parse_mixer(mixer, heads=2))
    small = {"channels": 16, "head_channels": 32, "train_proposals": 30, "test_proposals": 20}
    small |= {"backbone": backbone, "norm": "group", "anchor_scale": 4}
    fields = {
        "data": SCENES,
        "model": DetectorSpec(**(small | (model or {}))),
        "augmentation": DetectionAugmentation(shorter=48, longer=48),
        "recipe": SHORT,
        "batch": 3,
    }
    return DetectionSpec(**(fields | changes))


def open_task(folder, *arguments, seed=0, **fields):
    return spec(*arguments, **fields).open(None, folder, seed)


def test_a_spec_keeps_its_identity_in_json_and_defaults_to_the_paper():
    chosen = spec("0010+deformable")
    assert DetectionSpec.from_json(chosen.to_json()) == chosen
    recipe = DetectionSpec().recipe
    epoch = recipe.steps // 12
    assert recipe.rate(500) == recipe.rate(8 * epoch) == 0.02
    assert recipe.rate(8 * epoch + 1) == pytest.approx(0.002)
    assert recipe.rate(recipe.steps) == pytest.approx(0.0002)
    assert 0.02 / 3 < recipe.rate(1) < 0.007


def test_batches_are_functions_of_seed_epoch_and_image(tmp_path):
    task, again, other = (open_task(tmp_path, seed=seed) for seed in (0, 0, 1))
    plan = task.batches(3)[1]
    batch = task.collate(plan)
    assert batch["images"].shape == (3, 3, 48, 48)
    assert all(
        torch.equal(value, batch[name])
        for name, value in again.collate(again.batches(3)[1]).items()
    )
    epochs = [task.collate(plan._replace(epoch=epoch))["images"] for epoch in range(8)]
    assert any(not torch.equal(images, batch["images"]) for images in epochs)
    assert other.batches(3) != task.batches(3)


def test_crowd_boxes_are_no_targets(coco_folder, tmp_path):
    augmentation = DetectionAugmentation(shorter=20, longer=30, flip=0)
    folders = spec(data=CocoSpec(), augmentation=augmentation, batch=2)
    task = folders.open(coco_folder, tmp_path, 0)
    plan = task.batches(0)[0]
    batch = task.collate(plan)
    assert batch["images"].shape == (2, 3, 20, 30)
    assert batch["counts"].tolist() == [1, 1]
    expected = [task.corpus.train[index].boxes[0] for index in plan.indices]
    assert torch.equal(batch["boxes"], torch.stack(expected))


def three_scenes():
    part = read_detection(DigitScenesSpec(size=64, train=3, valid=1, test=1), None).train
    first, *rest = (part[index] for index in range(3))
    return [dataclasses.replace(first, image=first.image[:, :50]), *rest]


def test_images_are_padded_and_boxes_concatenated():
    batch_samples = three_scenes()
    batch = module.collate(batch_samples)
    assert batch["images"].shape == (3, 3, 64, 64)
    assert torch.equal(batch["images"][0, :, :50], batch_samples[0].image)
    assert not batch["images"][0, :, 50:].any()
    assert batch["sizes"].tolist() == [[50, 64], [64, 64], [64, 64]]
    assert batch["counts"].tolist() == [len(sample.labels) for sample in batch_samples]
    assert torch.equal(batch["boxes"], torch.cat([sample.boxes for sample in batch_samples]))


def test_crowd_boxes_are_left_out_of_a_batch():
    batch_samples = [
        dataclasses.replace(sample, crowd=torch.ones_like(sample.crowd))
        for sample in three_scenes()
    ]
    batch = module.collate(batch_samples)
    assert batch["boxes"].shape == (0, 4)
    assert batch["counts"].tolist() == [0, 0, 0]


def test_the_loss_is_the_mean_of_the_images_times_their_number():
    torch.manual_seed(0)
    spec = DetectorSpec(
        backbone=ResNetSpec(depth=18, width=8, norm="group"), channels=16, head_channels=16
    )
    objective = module.DetectionObjective(spec.build(classes=10)).train()
    batch_samples = three_scenes()
    torch.manual_seed(1)
    loss = objective(**module.collate(batch_samples))
    torch.manual_seed(1)
    expected = objective.detector.losses(
        [sample.image for sample in batch_samples],
        [Targets(sample.boxes, sample.labels) for sample in batch_samples],
    )
    assert_close(loss.total, 3 * torch.stack(list(expected.values())).sum())
    assert loss.weight == 3


@pytest.mark.parametrize("mixer", ["w/o", "0010+deformable"])
def test_cost_is_counted(tmp_path, mixer):
    task = open_task(tmp_path, mixer)
    cost = task.cost(task.build())
    assert cost["multiply_adds"] == cost["multiply_adds_closed_form"] > 0
    assert (cost["paper_multiply_adds"] == cost["multiply_adds"]) is (mixer == "w/o")
    assert cost["parameters"] == sum(p.numel() for p in task.build().parameters())


def test_gpu_hours_are_proportional_to_the_work():
    plain, attended = (
        DetectionSpec(model=DetectorSpec(backbone=backbone)).gpu_hours()
        for backbone in (
            ResNetSpec(weights="IMAGENET1K_V1"),
            ResNetSpec(mixer=parse_mixer("0010")),
        )
    )
    assert 1 < plain < attended < 2 * plain
    assert spec(batch=6).gpu_hours() == pytest.approx(2 * spec(batch=3).gpu_hours())


def test_evaluation_writes_detections_and_pictures(tmp_path):
    task = open_task(tmp_path, "0011", model={"score_threshold": 0.0})
    evaluation = task.evaluate(task.build().eval(), tmp_path)
    assert {"ap", "ap50", "ar100"} <= evaluation.metrics.keys()
    assert json.loads(json.dumps(evaluation.metrics, allow_nan=False)) == evaluation.metrics
    assert all((tmp_path / name).stat().st_size > 0 for name in evaluation.artifacts)
    pictures = [name for name in evaluation.artifacts if name.endswith(".png")]
    assert len(pictures) == 2 * len(task.corpus.test)
    detections = json.loads((tmp_path / module.DETECTIONS).read_text())
    assert detections
    assert set(detections[0]) >= {"image_id", "category_id", "bbox", "score"}
    matches = read_image_scores(tmp_path)
    once = np.ones((1, len(task.corpus.test)))
    known = {name: value for name, value in evaluation.metrics.items() if matches.knows(name)}
    assert {"ap", "ap50", "ap75"} < known.keys()
    found = {name: matches.scores(name, once)[0] for name in known}
    assert found == pytest.approx(known, abs=1e-9)


def test_boxes_are_in_pixels_of_the_original_image(tmp_path, monkeypatch):
    task = open_task(tmp_path, augmentation=DetectionAugmentation(shorter=96, longer=96))
    objective = task.build().eval()
    ground_truths = iter(task.corpus.test[index] for index in range(3))

    def perfect(_, images):
        sample = next(ground_truths)
        assert images[0].shape == (3, 96, 96)
        return [Detections(2 * sample.boxes, torch.ones(len(sample.labels)), sample.labels)]

    monkeypatch.setattr(type(objective.detector), "forward", perfect)
    scores = task.detect(objective.detector, task.corpus.test).scores()
    assert scores.numbers["ap"] == pytest.approx(100)


def test_two_shards_give_the_scores_of_a_single_process(tmp_path, monkeypatch):
    task = open_task(tmp_path, model={"score_threshold": 0.0})
    objective = task.build().eval()
    alone = task.detect(objective.detector, task.corpus.test).scores().metrics
    parts = []

    def gather(detections, add):
        parts.append(dict(detections))
        return add(parts[0], detections)

    monkeypatch.setattr(module, "sum_over_processes", gather)
    for process in range(2):
        monkeypatch.setattr(module, "process_shard", lambda items, p=process: range(p, items, 2))
        metric = task.detect(objective.detector, task.corpus.test)
    assert [len(part) for part in parts] == [2, 1]
    assert metric.scores().metrics == alone


def test_the_validation_loss_is_deterministic_and_keeps_the_random_state(tmp_path, monkeypatch):
    task = open_task(tmp_path, "0010", model={"anchors_sampled": 8, "regions_sampled": 4})
    objective = task.build().eval()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = task.monitor(objective)["valid_loss"]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert task.monitor(objective)["valid_loss"] == first > 0
    parts, zeros = [], dict.fromkeys(range(3), 0)
    monkeypatch.setattr(module, "sum_over_processes", lambda part, _: parts.append(part) or zeros)
    for process in range(2):
        monkeypatch.setattr(module, "process_shard", lambda items, p=process: range(p, items, 2))
        task._loss(objective, task.corpus.valid)
    monkeypatch.setattr(module, "sum_over_processes", lambda _, add: add(parts[1], parts[0]))
    assert task._loss(objective, task.corpus.valid) == first


def test_the_example_batch_is_a_training_batch(tmp_path):
    task = open_task(tmp_path)
    loss = task.build().eval()(**task.example_batch())
    assert (loss.total.item() > 0, loss.weight.item()) == (True, 3)


def test_training_in_bfloat16_stays_finite(tmp_path):
    recipe = SHORT.model_copy(update={"steps": 2, "precision": "bfloat16", "monitor_every": 0})
    result = train(open_task(tmp_path, "1111+deformable", recipe=recipe), tmp_path, seed=0)
    assert all(torch.isfinite(value).all() for value in result.objective.state_dict().values())


class Stop(Exception):  # noqa: N818
    """Simulates a killed process."""


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path):
    def interrupt(progress):
        if progress.step == 3:
            raise Stop

    mixer = "0110+deformable"
    whole = train(open_task(tmp_path, mixer), tmp_path / "whole", seed=5)
    with pytest.raises(Stop):
        train(open_task(tmp_path, mixer), tmp_path / "broken", seed=5, notify=interrupt)
    resumed = train(open_task(tmp_path, mixer), tmp_path / "broken", seed=5, num_workers=1)
    expected, actual = whole.objective.state_dict(), resumed.objective.state_dict()
    assert [name for name in expected if not torch.equal(expected[name], actual[name])] == []
    assert '"valid_ap50"' in (tmp_path / "whole" / "metrics.jsonl").read_text()


def test_a_checkpoint_of_another_shape_or_other_data_is_refused(tmp_path):
    train(open_task(tmp_path), tmp_path, seed=0)
    with pytest.raises(StoredFileError):
        train(open_task(tmp_path, width=16), tmp_path, seed=0)
    with pytest.raises(DataError):
        train(open_task(tmp_path, data=SCENES.model_copy(update={"variant": 1})), tmp_path, seed=0)
    with pytest.raises(DataError) as error:
        spec(data=CocoSpec()).open(None, tmp_path, 0)
    assert error.value.field == "--data"


@pytest.fixture
def frozen(tmp_path):
    """A spec with a frozen backbone, by the mixer of its pyramid."""

    def make(mixer="w/o", **changes):
        backbone = FrozenBackboneSpec(cache=str(tmp_path / "cache"))
        model = {"backbone": backbone, "pyramid_mixer": parse_mixer(mixer, heads=2)}
        return spec(model=model, **changes)

    return make


def number_of_files(folder):
    return len([*(folder / "cache").rglob("*.safetensors")])


def test_a_frozen_backbone_computes_each_image_and_its_flip_once(frozen, tmp_path):
    task = frozen("0010+deformable").open(None, tmp_path, 0)
    result = train(task, tmp_path / "run", seed=0)
    evaluation = task.evaluate(result.objective, tmp_path / "run")
    assert 0 <= evaluation.metrics["ap50"] <= 100
    assert any(name.startswith("attention") for name in evaluation.artifacts)
    features = result.objective.detector.frozen_backbone.features
    assert features.limit == 2 * 6 + 3 + 3
    number = number_of_files(tmp_path)
    assert 6 + 3 + 3 <= number <= features.limit
    again = train(frozen("0010+deformable").open(None, tmp_path, 0), tmp_path / "again", seed=0)
    assert number_of_files(tmp_path) == number
    expected, actual = result.objective.state_dict(), again.objective.state_dict()
    assert [name for name in expected if not torch.equal(expected[name], actual[name])] == []


def test_a_flip_is_another_image(frozen, tmp_path):
    task = frozen().open(None, tmp_path, 0)
    sample = task.corpus.train[0]
    detector = task.build().detector.eval()
    detector([sample.image])
    detector([sample.image.flip(2)])
    assert number_of_files(tmp_path) == 2
    detector([sample.image.flip(2).flip(2)])
    assert number_of_files(tmp_path) == 2


def test_the_cost_includes_a_frozen_backbone(frozen, tmp_path):
    costs = {}
    for mixer in ("w/o", "0110"):
        task = frozen(mixer).open(None, tmp_path, 0)
        objective = task.build()
        costs[mixer] = task.cost(objective)
        image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        backbone = count_multiply_adds(objective.detector.frozen_backbone, image)
        assert costs[mixer]["multiply_adds"] > backbone > 0
    assert costs["0110"]["multiply_adds"] > costs["w/o"]["multiply_adds"]
    assert costs["w/o"]["multiply_adds"] == costs["w/o"]["paper_multiply_adds"]


def test_gpu_hours_do_not_include_a_frozen_backbone(frozen):
    plain, attended = frozen("w/o"), frozen("1111")
    layers = DetectorLayers(build_on_meta(plain.model, 80), plain.model.regions_sampled)
    whole = count_multiply_adds(layers, meta_image((32, 64)))
    backbone = count_multiply_adds(layers.detector.frozen_backbone, meta_image((32, 64)))
    assert plain.augmentation.resized(300, 500) == (29, 48)
    expected = training_hours((whole - backbone) * SHORT.steps * plain.batch)
    assert plain.gpu_hours() == pytest.approx(expected)
    assert plain.gpu_hours() < attended.gpu_hours()


def test_a_frozen_backbone_has_an_identity_of_its_own(frozen):
    chosen = frozen("1111")
    assert DetectionSpec.from_json(chosen.to_json()) == chosen
    kinds = [DetectorSpec(), DetectorSpec(backbone=FrozenBackboneSpec())]
    assert len({identity(DetectionSpec(model=model), 0) for model in kinds}) == 2


@pytest.mark.slow
def test_a_detector_overfits_eight_scenes(tmp_path):
    recipe = Recipe(
        steps=160,
        learning_rate=3e-3,
        betas=(0.9, 0.99),
        warmup_steps=15,
        schedule=Polynomial(),
        clip_norm=1.0,
    )
    task = open_task(
        tmp_path,
        "0010",
        width=16,
        model={
            "channels": 32,
            "head_channels": 128,
            "regions_sampled": 64,
            "train_proposals": 100,
            "test_proposals": 50,
        },
        data=DigitScenesSpec(size=96, train=8, valid=1, test=1),
        augmentation=DetectionAugmentation(shorter=96, longer=96, flip=0),
        recipe=recipe,
        batch=4,
    )
    result = train(task, tmp_path, seed=0)
    scores = task.detect(result.objective.detector, task.corpus.train).scores()
    assert scores.numbers["ap50"] >= 90


@pytest.mark.data
@pytest.mark.slow
def test_two_steps_on_real_animals(shared_data, tmp_path):
    chosen = spec("0010+deformable", data=CocoSpec(test="val"))
    recipe = SHORT.model_copy(update={"steps": 2})
    task = chosen.model_copy(update={"recipe": recipe}).open(
        shared_data / "mini" / "detection", tmp_path, 0
    )
    losses = []
    result = train(task, tmp_path, seed=0, notify=lambda progress: losses.append(progress.loss))
    assert 0 < losses[-1] < 10
    assert "ap50" in task.evaluate(result.objective, tmp_path).metrics
