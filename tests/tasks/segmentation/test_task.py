import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.results.image_scores import IMAGE_SCORES, read_image_scores
from quatrain.specs import DataError, SpecError, StoredFileError
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.segmentation import (
    IGNORE,
    FoldersSpec,
    SegmentationAugmentation,
    SegmentationSpec,
    TilesSpec,
    small_segmentation,
)
from quatrain.tasks.segmentation import task as module
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


def spec(mixer="w/o", width=8, **changes):
    backbone = ResNetSpec(depth=18, width=width, output_stride=8, mixer=parse_mixer(mixer, heads=2))
    fields = {
        "data": SCENES,
        "model": SegmenterSpec(backbone=backbone, channels=2 * width, norm="batch"),
        "augmentation": SegmentationAugmentation(crop=40),
        "recipe": SHORT,
        "batch": 3,
    }
    return SegmentationSpec(**(fields | changes))


def open_task(folder, *arguments, seed=0, **fields):
    return spec(*arguments, **fields).open(None, folder, seed)


def test_a_spec_keeps_its_identity_in_json_and_defaults_to_the_paper():
    chosen = spec("0010+deformable", testing=TilesSpec(tile=32))
    assert SegmentationSpec.from_json(chosen.to_json()) == chosen
    recipe = SegmentationSpec().recipe
    assert (recipe.steps, recipe.rate(1), recipe.momentum) == (60_000, 0.005, 0.9)
    assert recipe.rate(30_001) == pytest.approx(0.005 * 0.5**0.9)
    with pytest.raises(SpecError) as error:
        SegmentationSpec(testing={"kind": "guess"})
    assert error.value.field.startswith("SegmentationSpec.testing")


def test_batches_are_functions_of_seed_epoch_and_image(tmp_path):
    task, again, other = (open_task(tmp_path, seed=seed) for seed in (0, 0, 1))
    plan = task.batches(3)[1]
    batch = task.collate(plan)
    assert batch["images"].shape == (3, 3, 40, 40)
    assert batch["labels"].shape == (3, 40, 40)
    assert torch.equal(again.collate(again.batches(3)[1])["images"], batch["images"])
    assert not torch.equal(other.collate(plan)["images"], batch["images"])
    assert not torch.equal(task.collate(plan._replace(epoch=4))["images"], batch["images"])


def test_training_images_are_scaled_as_held_out_images(tmp_path):
    still = SegmentationAugmentation(smallest=1, largest=1, crop=24, flip=0)
    task = open_task(tmp_path, augmentation=still, scale=0.5)
    plan = task.batches(0)[0]
    image = task.corpus.train[plan.indices[0]].image
    shrunk = module.functional.resize(image, [24, 24], antialias=True)
    assert torch.equal(task.collate(plan)["images"][0], shrunk)


def test_the_loss_excludes_ignored_pixels_and_adds_the_auxiliary_head_in_training(tmp_path):
    task = open_task(tmp_path)
    objective = task.build().train()
    batch = task.collate(task.batches(0)[0])
    batch["labels"][:, :, :7] = IGNORE
    objective(**batch)
    objective.eval()
    loss = objective(**batch)
    logits = objective.segmenter(batch["images"]).log_softmax(1)
    scored = batch["labels"] != IGNORE
    log_likelihood = logits.gather(1, batch["labels"].where(scored, 0)[:, None])[:, 0]
    torch.testing.assert_close(loss.total, -log_likelihood[scored].sum())
    assert float(loss.weight) == int(scored.sum())
    totals = []
    for weight in (0.0, 1.0, 3.0):
        objective.train()
        objective.auxiliary_weight = weight
        torch.manual_seed(0)
        totals.append(objective(**batch).total.item())
    assert totals[1] > totals[0]
    assert totals[2] - totals[0] == pytest.approx(3 * (totals[1] - totals[0]), rel=1e-3)


def test_a_batch_of_ignored_pixels_has_no_loss(tmp_path):
    task = open_task(tmp_path)
    objective = task.build()
    batch = task.collate(task.batches(0)[0])
    loss = objective(batch["images"], torch.full_like(batch["labels"], IGNORE))
    assert (loss.total.item(), loss.weight.item()) == (0, 1)


@pytest.mark.parametrize("mixer", ["w/o", "0010+deformable"])
def test_cost_is_counted(tmp_path, mixer):
    task = open_task(tmp_path, mixer, scale=1.5)
    cost = task.cost(task.build())
    assert cost["multiply_adds"] == cost["multiply_adds_closed_form"] > 0
    assert (cost["paper_multiply_adds"] == cost["multiply_adds"]) is (mixer == "w/o")
    assert cost["parameters"] == sum(p.numel() for p in task.build().parameters())


def test_cost_is_that_of_one_network_input(tmp_path):
    counted = [
        task.cost(task.build())["multiply_adds"]
        for task in (
            open_task(tmp_path),
            open_task(tmp_path, scale=2),
            open_task(tmp_path, scale=2, testing=TilesSpec(tile=48)),
        )
    ]
    assert counted[0] == counted[2] < counted[1] / 3


def test_gpu_hours_are_proportional_to_the_work():
    plain, attended = (
        SegmentationSpec(model=SegmenterSpec(backbone=backbone)).gpu_hours()
        for backbone in (
            ResNetSpec(output_stride=8, weights="IMAGENET1K_V1"),
            ResNetSpec(output_stride=8, mixer=parse_mixer("0010")),
        )
    )
    assert 1 < plain < attended < 2 * plain
    assert spec(batch=6).gpu_hours() == pytest.approx(2 * spec(batch=3).gpu_hours())


@pytest.mark.parametrize("testing", [{}, {"testing": TilesSpec(tile=40)}])
def test_scores_are_computed_at_the_size_of_the_labels(tmp_path, testing):
    for scale in (0.75, 1.0):
        task = open_task(tmp_path, scale=scale, **testing)
        metrics = task.monitor(task.build().eval())
        assert {"valid_miou", "valid_pixel_accuracy", "valid_iou_background"} <= metrics.keys()
        assert 0 <= metrics["valid_miou"] <= 100
        assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_evaluation_writes_pictures_of_predictions_and_attention(tmp_path):
    scenes = SCENES.model_copy(update={"test": 1})
    task = open_task(tmp_path, "0011", scale=1.5, data=scenes)
    names = task.evaluate(task.build().eval(), tmp_path).artifacts
    assert sorted(names) == ["attention-0.png", IMAGE_SCORES, "segmentation-0.png"]
    assert all((tmp_path / name).stat().st_size > 0 for name in names)
    plain = open_task(tmp_path, data=scenes)
    assert len(plain.evaluate(plain.build().eval(), tmp_path).artifacts) == 2


def test_the_counts_of_all_images_give_the_metrics_of_the_record(tmp_path):
    task = open_task(tmp_path, scale=1.5)
    metrics = task.evaluate(task.build().eval(), tmp_path).metrics
    counts = read_image_scores(tmp_path)
    once = np.ones((1, len(task.corpus.test)))
    found = {name: counts.scores(name, once)[0] for name in metrics}
    assert found == pytest.approx(metrics, abs=1e-9)


def test_a_perfect_segmenter_scores_100(tmp_path, monkeypatch):
    task = open_task(tmp_path, scale=0.5)
    labels = itertools.cycle(task.corpus.test[index].label for index in range(3))

    def perfect(_, image):
        return torch.nn.functional.one_hot(next(labels), 11).movedim(-1, 0)[None].float()

    monkeypatch.setattr(task, "logits", perfect)
    evaluation = task.evaluate(task.build().eval(), tmp_path)
    metrics = evaluation.metrics
    assert (metrics["miou"], metrics["pixel_accuracy"]) == (100, 100)
    present = {int(c) for index in range(3) for c in task.corpus.test[index].label.unique()}
    assert len([name for name in metrics if name.startswith("iou_")]) == len(present) < 11
    absent = [entry.name for c, entry in enumerate(task.corpus.classes) if c not in present]
    assert evaluation.signatures == {
        "miou": f"mean over {len(present)} of 11 classes; in neither truth nor prediction: "
        + ", ".join(f'"{name}"' for name in absent)
    }


def test_two_shards_give_the_scores_of_a_single_process(tmp_path, monkeypatch):
    task = open_task(tmp_path)
    objective = task.build().eval()
    alone = task.score(objective.segmenter, task.corpus.test).metrics
    parts = []
    for process in range(2):
        monkeypatch.setattr(module, "process_shard", lambda items, p=process: range(p, items, 2))
        monkeypatch.setattr(module, "sum_over_processes", lambda part: parts.append(part) or part)
        task.score(objective.segmenter, task.corpus.test)
    assert [len(part.images) for part in parts] == [2, 1]
    monkeypatch.setattr(module, "sum_over_processes", lambda _: parts[0] + parts[1])
    assert task.score(objective.segmenter, task.corpus.test).metrics == alone


class Stop(Exception):  # noqa: N818
    """Simulates a killed process."""


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path):
    mixer = "0110+deformable"

    def interrupt(progress):
        if progress.step == 3:
            raise Stop

    whole = train(open_task(tmp_path, mixer), tmp_path / "whole", seed=5)
    with pytest.raises(Stop):
        train(open_task(tmp_path, mixer), tmp_path / "broken", seed=5, notify=interrupt)
    resumed = train(open_task(tmp_path, mixer), tmp_path / "broken", seed=5)
    expected, actual = whole.objective.state_dict(), resumed.objective.state_dict()
    assert [name for name in expected if not torch.equal(expected[name], actual[name])] == []
    assert '"valid_miou"' in (tmp_path / "whole" / "metrics.jsonl").read_text()


def test_a_checkpoint_of_another_shape_or_other_data_is_refused(tmp_path):
    train(open_task(tmp_path), tmp_path, seed=0)
    with pytest.raises(StoredFileError):
        train(open_task(tmp_path, width=16), tmp_path, seed=0)
    other = SCENES.model_copy(update={"variant": 1})
    with pytest.raises(DataError):
        train(open_task(tmp_path, data=other), tmp_path, seed=0)


def test_invalid_data_are_refused_when_the_task_is_opened(camvid_folder, tmp_path):
    folders = spec(data=FoldersSpec())
    with pytest.raises(DataError) as error:
        folders.open(None, tmp_path, 0)
    assert error.value.field == "--data"
    path = camvid_folder / "trainannot" / "a.png"
    Image.new("L", (6, 4), 7).save(path)
    with pytest.raises(DataError) as error:
        folders.open(camvid_folder, tmp_path, 0)
    assert "the unknown value 7" in str(error.value)


@pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")
def test_the_corpus_is_shared_until_a_file_changes(camvid_folder, tmp_path):
    folders = spec(data=FoldersSpec())
    first = folders.open(camvid_folder, tmp_path, 0)
    assert folders.open(camvid_folder, tmp_path, 1).corpus is first.corpus
    Image.new("RGB", (6, 4), (1, 2, 3)).save(camvid_folder / "train" / "a.png")
    later = folders.open(camvid_folder, tmp_path, 0)
    assert later.data_hashes != first.data_hashes


def test_the_example_batch_is_a_training_batch(tmp_path):
    task = open_task(tmp_path)
    assert task.example_batch()["images"].shape == (3, 3, 40, 40)
    assert task.build().eval()(**task.example_batch()).total.item() > 0


@pytest.mark.parametrize("steps", [1, 2, 50, 6000])
def test_small_segmenters_train_for_any_number_of_steps(steps):
    spec = small_segmentation(None, FoldersSpec(), steps=steps, monitor_every=7)
    assert (spec.recipe.steps, spec.recipe.monitor_every) == (steps, 7)
    assert spec.recipe.warmup_steps <= 100


def test_small_segmenters_differ_in_their_mixer_only():
    one, two = (
        small_segmentation(parse_mixer(mixer), FoldersSpec(), steps=9) for mixer in ("w/o", "0110")
    )
    assert one != two
    unmixed = two.model.backbone.model_copy(update={"mixer": None})
    model = two.model.model_copy(update={"backbone": unmixed})
    assert two.model_copy(update={"model": model}) == one


def test_a_street_scene_needs_few_multiply_adds(tmp_path):
    data = DigitScenesSpec(size=416, train=1, valid=1, test=1)  # as many pixels as CamVid has
    task = small_segmentation(None, data, steps=9).open(None, tmp_path, 0)
    cost = task.cost(task.build())
    assert cost["multiply_adds"] < 3e9
    assert cost["parameters"] < 5e6
    assert task.collate(task.batches(0)[0])["images"].shape == (1, 3, 192, 192)
    assert task.build().eval()(**task.example_batch()).total.isfinite()


@pytest.mark.slow
def test_a_segmenter_overfits_eight_scenes(tmp_path):
    recipe = Recipe(
        steps=460,
        learning_rate=1e-2,
        warmup_steps=10,
        schedule=Polynomial(),
        clip_norm=1.0,
        average=0.9,
    )
    backbone = ResNetSpec(depth=18, width=8, output_stride=4, norm="group")
    side = 144  # strokes are thin beside the 4 pixels of a position
    task = open_task(
        tmp_path,
        data=DigitScenesSpec(size=96, train=8, valid=1, test=1, variant=3),
        model=SegmenterSpec(backbone=backbone, channels=32, norm="group", dropout=0),
        augmentation=SegmentationAugmentation(smallest=1, largest=1, crop=side, flip=0),
        recipe=recipe,
        batch=1,
        scale=side / 96,
    )
    result = train(task, tmp_path, seed=0)
    scores = task.score(result.objective.segmenter, task.corpus.train)
    assert scores.miou >= 90
    assert sum(name.startswith("iou_") for name in scores.metrics) == 9


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")
def test_two_steps_on_real_street_scenes(shared_data, tmp_path):
    chosen = spec("0010+deformable", data=FoldersSpec(test="val"), scale=0.25)
    recipe = SHORT.model_copy(update={"steps": 2})
    task = chosen.model_copy(update={"recipe": recipe}).open(
        shared_data / "mini" / "segmentation", tmp_path, 0
    )
    losses = []
    result = train(task, tmp_path, seed=0, notify=lambda progress: losses.append(progress.loss))
    assert 0 < losses[-1] < 10
    metrics = task.evaluate(result.objective, tmp_path).metrics
    assert {"miou", "pixel_accuracy", "iou_sky", "iou_road"} <= metrics.keys()
