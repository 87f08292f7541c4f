"""The study files, shortened, from the command line to the report."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from quatrain.cli.main import app
from quatrain.report.findings import cells_by_mixer
from quatrain.results import ResultStore
from quatrain.specs import ALL_TERM_SETS
from quatrain.study import load_study
from quatrain.tasks.detection import CocoSpec, DetectionAugmentation
from quatrain.tasks.segmentation import FoldersSpec, SegmentationAugmentation
from quatrain.tasks.translation import ParallelTextSpec, VocabularySpec
from quatrain.training import train

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.mark.parametrize("name", sorted(path.stem for path in STUDIES.glob("*.py")))
def test_each_study_file_loads_and_names_its_command(name):
    study = load_study(STUDIES / f"{name}.py")
    assert study.comparisons or name.endswith("_one_shot")
    assert f"studies/{name}.py" in (STUDIES / f"{name}.py").read_text().split('"""')[1]


@pytest.mark.parametrize(
    ("name", "base", "groups"),
    [
        (
            "numerals_one_shot",
            "numerals_terms",
            {"encoder-decoder": "all encoder-decoder", "self": "all self"},
        ),
        ("multi30k_one_shot", "multi30k_terms", {"cross": "cross", "self": "self"}),
    ],
)
def test_the_single_sets_of_a_one_shot_study_are_runs_of_the_study_of_terms(name, base, groups):
    known = {
        (cell.group, cell.name): cell.identities
        for cell in load_study(STUDIES / f"{base}.py").manifest().cells
    }
    for cell in load_study(STUDIES / f"{name}.py").manifest().cells:
        if cell.group in groups:
            assert cell.identities.items() <= known[groups[cell.group], cell.name].items()
        else:
            assert cell.group.removeprefix("one-shot ") in groups


def test_the_paper_study_has_every_configuration_of_figure_3_c_and_d():
    study = load_study(STUDIES / "paper_wmt14.py")
    groups = {cell.group for cell in study.cells}
    sizes = {group: sum(cell.group == group for cell in study.cells) for group in groups}
    assert sorted(sizes.values()) == [15, 16]


@pytest.mark.parametrize("name", ["paper_coco", "paper_cityscapes"])
def test_the_paper_studies_of_vision_have_every_published_configuration(name):
    study = load_study(STUDIES / f"{name}.py")
    groups = [cell.group for cell in study.cells]
    assert [groups.count(group) for group in dict.fromkeys(groups)] == [17, 18, 9]
    assert len(study.comparisons) == 13
    shared = [cell.spec for cell in study.cells if cell.name == "1111"]
    assert shared[0] == shared[1]


def two_steps(spec, mini, folder, backbone=None, **changed):
    """Train two steps on few small images, without pretrained weights by default, and evaluate."""
    backbone = spec.model.backbone.model_copy(update=backbone or {"weights": None})
    short = spec.recipe.model_copy(
        update={"steps": 2, "warmup_steps": 1, "accumulate": 1, "precision": "float32"}
    )
    model = spec.model.model_copy(update={"backbone": backbone})
    fields = {"model": model, "recipe": short, "batch": 1} | changed
    task = spec.model_copy(update=fields).open(mini, folder, seed=0)
    result = train(task, folder, seed=0)
    assert result.steps == 2
    assert all(torch.isfinite(value).all() for value in result.objective.state_dict().values())
    return task.evaluate(result.objective, folder).metrics


@pytest.mark.data
@pytest.mark.slow
def test_the_paper_detector_takes_two_steps(shared_data, tmp_path):
    study = load_study(STUDIES / "paper_coco.py")
    spec = next(cell.spec for cell in study.cells if cell.name == "0010+deformable")
    metrics = two_steps(
        spec.model_copy(update={"model": spec.model.model_copy(update={"test_proposals": 50})}),
        shared_data / "mini" / "detection",
        tmp_path,
        data=CocoSpec(test="val"),
        augmentation=DetectionAugmentation(shorter=128, longer=213),
    )
    assert "ap" in metrics


@pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")
@pytest.mark.data
@pytest.mark.slow
def test_the_paper_segmenter_takes_two_steps(shared_data, tmp_path):
    study = load_study(STUDIES / "paper_cityscapes.py")
    spec = next(cell.spec for cell in study.cells if cell.name == "0010")
    metrics = two_steps(
        spec,
        shared_data / "mini" / "segmentation",
        tmp_path,
        data=FoldersSpec(test="val"),
        augmentation=SegmentationAugmentation(crop=97),
        scale=0.25,
    )
    assert 0 <= metrics["miou"] <= 100


def test_the_study_of_frozen_features_has_all_term_sets_and_places():
    study = load_study(STUDIES / "camvid_frozen.py")
    names = {cell.name for cell in study.cells if cell.group == "grid"}
    assert names > {"w/o", *map(str, ALL_TERM_SETS), "0100@7", "dynamic@7", "w/o+deformable"}
    assert len(names) == 22
    maps = [cell.spec.model.maps for cell in study.cells if cell.group == "place"]
    assert [maps.count(each) for each in dict.fromkeys(maps)] == [3, 3]
    published = [each for each in study.comparisons if each.published is not None]
    assert {each.left for each in published} > {"0010", "1111", "0110"}


def test_the_study_of_a_detector_on_frozen_features_has_the_cells_of_the_trained_one():
    frozen, trained = (
        load_study(STUDIES / f"aquarium_{name}.py") for name in ("frozen", "detection")
    )
    grid = [cell for cell in trained.cells if cell.group == "grid"]
    assert [cell.name for cell in frozen.cells] == [cell.name for cell in grid]
    assert len(frozen.select()) == 39
    assert frozen.comparisons == trained.comparisons
    assert {cell.spec.data for cell in frozen.cells} == {cell.spec.data for cell in grid}
    specs = {cell.name: cell.spec.model_dump(mode="json") for cell in frozen.cells}
    place, cells = cells_by_mixer(specs)
    assert place == "detection"
    assert cells == {name.removeprefix("w/o+"): name for name in specs}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("label", ["grid/w/o", "grid/1111+deformable"])
def test_the_detector_on_frozen_features_takes_two_steps(label, shared_data, tmp_path):
    study = load_study(STUDIES / "aquarium_frozen.py")
    metrics = two_steps(
        next(cell.spec for cell in study.cells if cell.label == label),
        shared_data / "mini" / "detection",
        tmp_path,
        backbone={"cache": str(tmp_path / "cache")},
        augmentation=DetectionAugmentation(shorter=128, longer=128),
    )
    assert 0 <= metrics["ap50"] <= 100


@pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("label", ["grid/1111+deformable", "place/conv3-5 0010"])
def test_the_segmenter_on_frozen_features_takes_two_steps(label, shared_data, tmp_path):
    study = load_study(STUDIES / "camvid_frozen.py")
    metrics = two_steps(
        next(cell.spec for cell in study.cells if cell.label == label),
        shared_data / "mini" / "segmentation",
        tmp_path,
        backbone={"cache": str(tmp_path / "cache")},
        data=FoldersSpec(test="val"),
        augmentation=SegmentationAugmentation(smallest=1, largest=1, crop=(90, 120)),
        scale=0.25,
    )
    assert 0 <= metrics["miou"] <= 100


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    "label",
    [
        "figure 3 c: self/1111",
        "figure 3 d: encoder-decoder/0010",
    ],
)
def test_the_paper_translator_takes_two_steps_at_its_own_size(label, shared_data, tmp_path):
    study = load_study(STUDIES / "paper_wmt14.py")
    spec = next(cell.spec for cell in study.cells if cell.label == label)
    recipe = spec.recipe.model_copy(update={"steps": 2, "accumulate": 1, "precision": "float32"})
    short = spec.model_copy(
        update={
            "data": ParallelTextSpec(),
            "vocabulary": VocabularySpec(size=1000),
            "recipe": recipe,
            "batch_tokens": 64,
        }
    )
    task = short.open(shared_data / "mini" / "translation", tmp_path, seed=0)
    losses = []
    result = train(task, tmp_path, seed=0, notify=lambda progress: losses.append(progress.loss))
    assert result.steps == 2
    assert 0 < losses[-1] < 20
    assert all(torch.isfinite(value).all() for value in result.objective.state_dict().values())


@pytest.mark.slow
def test_two_probes_from_the_command_line_to_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = (STUDIES / "probes.py").read_text()
    recipe = "Recipe(steps=60, learning_rate=1.5e-2, warmup_steps=10, clip_norm=1.0)"
    short = source.replace("heads=1))", f"heads=1), recipe={recipe})")
    short = short.replace(
        "from quatrain.tasks", "from quatrain.training import Recipe\nfrom quatrain.tasks"
    )
    # A wrong expectation: its violation is reported, and the exit status stays 0.
    short = short.replace('"0000|0001|0100", CANNOT', '"0000|0001|0100", CAN')
    assert short.count("CAN, ") > source.count("CAN, ")
    (tmp_path / "short.py").write_text(short)
    command = ["study", "run", "short.py", "--out", "out", "--seeds", "0"]
    chosen = ["--cells", "saliency/0010", "--cells", "saliency/0001"]
    placed = ["--jobs", "1", "--threads", "1"]
    ran = CliRunner().invoke(app, [*command, *chosen, *placed])
    assert ran.exit_code == 0, ran.output
    assert "1 of 2 expectations met" in ran.output
    assert "expectation not met: saliency, 0001" in " ".join(ran.output.split())
    records = ResultStore(tmp_path / "out").all_records()
    reached = {record.cell: record.metrics["accuracy"] for record in records}
    assert reached["saliency/0010"] > 95
    assert reached["saliency/0001"] < 25
    page = (tmp_path / "out" / "report" / "report.md").read_text()
    assert "expectation not met: saliency, 0001" in page
    assert "groups not started, not shown: offset" in page


@pytest.mark.slow
def test_own_network_from_the_command_line_to_the_records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = (STUDIES / "own_network.py").read_text()
    (tmp_path / "own.py").write_text(source.replace("STEPS, TEST = 200", "STEPS, TEST = 6"))
    command = ["study", "run", "own.py", "--out", "out", "--seeds", "0", "--threads", "1"]
    chosen = ["--cells", "w/o", "--cells", "deformable", "--jobs", "1"]
    ran = CliRunner().invoke(app, [*command, *chosen])
    assert ran.exit_code == 0, ran.output
    records = ResultStore(tmp_path / "out").all_records()
    assert {record.cell for record in records} == {"network/w/o", "network/deformable"}
    parameters = [record.cost["parameters"] for record in records]
    assert parameters[0] != parameters[1]


@pytest.mark.slow
def test_a_small_translation_study_from_the_command_line_to_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = (STUDIES / "numerals_terms.py").read_text()
    short = source.replace("steps=250", "steps=6").replace("warmup_steps=40", "warmup_steps=2")
    short = short.replace("NumeralsSpec()", "NumeralsSpec(train=400, valid=20, test=20)")
    (tmp_path / "short.py").write_text(short)
    command = ["study", "run", "short.py", "--out", "out", "--seeds", "0,1", "--threads", "1"]
    ran = CliRunner().invoke(app, [*command, "--cells", "self/*"])
    assert ran.exit_code == 0, ran.output
    store = ResultStore(tmp_path / "out")
    records = store.all_records()
    assert len(records) == 8
    assert {record.seed for record in records} == {0, 1}
    assert all(
        record.cost["multiply_adds"] == record.cost["multiply_adds_closed_form"]
        for record in records
    )
    page = (tmp_path / "out" / "report" / "report.html").read_text()
    assert "1111" in page
    again = CliRunner().invoke(app, [*command, "--cells", "self/*"])
    assert again.exit_code == 0
    assert len(store.all_records()) == 8
    status = CliRunner().invoke(app, ["study", "status", "out", "--json"])
    states = [row["state"] for row in json.loads(status.output) if row["group"] == "self"]
    assert states.count("done") == 8
