import hashlib

import numpy as np
import pytest
from PIL import Image

from quatrain.specs import DataError, SpecError, identity
from quatrain.tasks.segmentation.folders import FoldersSpec
from quatrain.tasks.vision import DataWarning
from tasks.segmentation.conftest import LABEL

pytestmark = pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")


def refusal(folder, spec=None):
    with pytest.raises(DataError) as error:
        (spec or FoldersSpec()).read(folder)
    assert "\n" not in str(error.value)
    return error.value


def test_images_and_labels_are_matched_by_name(camvid_folder):
    (camvid_folder / "train" / ".hidden.png").write_text("no image")
    (camvid_folder / "train" / "notes.txt").write_text("no image")
    corpus = FoldersSpec().read(camvid_folder)
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [2, 2, 2]
    assert [entry.name for entry in corpus.classes] == ["sky", "road"]
    assert corpus.train[0].label.unique().tolist() == [0, 1, 255]


def test_a_list_gives_the_images_and_their_order(camvid_folder):
    text = "train/b.png trainannot/b.png\n\nval/a.png valannot/b.png\n"
    (camvid_folder / "train.txt").write_text(text)
    corpus = FoldersSpec().read(camvid_folder)
    assert [name.split("/")[-2:] for name in corpus.train.names] == [
        ["train", "b.png"],
        ["val", "a.png"],
    ]
    assert corpus.hashes["train.txt"] == hashlib.sha256(text.encode()).hexdigest()
    assert sorted(corpus.test_hashes) == ["classes.json", "images of test", "labels of test"]


def test_patterns_give_other_folders_and_label_names(camvid_folder):
    (camvid_folder / "img").mkdir()
    (camvid_folder / "lab").mkdir()
    for part in ("train", "val", "test"):
        (camvid_folder / part).rename(camvid_folder / "img" / part)
        (camvid_folder / f"{part}annot").rename(camvid_folder / "lab" / part)
        for path in list((camvid_folder / "lab" / part).iterdir()):
            path.rename(path.with_name(f"{path.stem}_L.png"))
    spec = FoldersSpec(images="img/{part}", labels="lab/{part}", label_suffix="_L")
    corpus = spec.read(camvid_folder)
    assert len(corpus.train) == 2
    assert corpus.data_notes == {
        f"{part}: pixels ignored, 16.7 % of all": 8 for part in ("train", "val", "test")
    }


def test_an_image_without_a_label_is_refused(camvid_folder):
    (camvid_folder / "trainannot" / "a.png").unlink()
    path = camvid_folder / "train" / "a.png"
    problem = f"1 images or labels without a counterpart, the first {path}"
    assert problem in str(refusal(camvid_folder))
    (camvid_folder / "train" / "a.png").unlink()
    (camvid_folder / "train" / "b.png").rename(camvid_folder / "train" / "b.txt")
    error = refusal(camvid_folder)
    assert error.field == str(camvid_folder / "train")
    assert "b.txt" in str(error)


def test_two_files_of_one_name_are_refused(camvid_folder):
    (camvid_folder / "train" / "a.jpg").write_bytes(b"")
    assert "a.jpg and a.png" in str(refusal(camvid_folder))


@pytest.mark.parametrize("line", ["train/a.png", "train/a.png trainannot/a.png more"])
def test_a_line_without_exactly_two_paths_is_refused(camvid_folder, line):
    (camvid_folder / "train.txt").write_text(f"train/b.png trainannot/b.png\n{line}\n")
    assert refusal(camvid_folder).field == f"{camvid_folder / 'train.txt'}:2"


def test_missing_files_are_refused(camvid_folder):
    assert refusal(None).field == "--data"
    error = refusal(camvid_folder, FoldersSpec(test="tset"))
    assert error.field == str(camvid_folder / "tset")
    assert "a list tset.txt" in str(error)
    assert "classes.yaml" in refusal(camvid_folder, FoldersSpec(classes="classes.yaml")).field
    (camvid_folder / "train.txt").write_text("")
    assert refusal(camvid_folder).field == str(camvid_folder / "train.txt")
    (camvid_folder / "train.txt").write_text("train/z.png trainannot/a.png")
    assert "1 of 1 files" in str(refusal(camvid_folder))


def test_a_spec_keeps_its_identity_in_json():
    spec = FoldersSpec(test="val")
    assert identity(FoldersSpec.from_json(spec.to_json()), 0) == identity(spec, 0)


@pytest.mark.data
@pytest.mark.slow
def test_real_folders_are_read(shared_data):
    mini = FoldersSpec(test="val").read(shared_data / "mini" / "segmentation")
    assert [len(mini.train), len(mini.valid)] == [32, 16]
    assert mini.train[5].label.shape == (180, 240)
    full = FoldersSpec().read(shared_data / "camvid")
    assert [len(full.train), len(full.valid), len(full.test)] == [367, 101, 233]
    assert full.classes[8].name == "car"
    assert full.data_notes == {
        "train: pixels ignored, 3.9 % of all": 2503995,
        "val: pixels ignored, 1.7 % of all": 297271,
        "test: pixels ignored, 3.8 % of all": 1543383,
    }


@pytest.mark.parametrize("field", ["lists", "images", "labels"])
def test_a_pattern_without_the_part_is_refused(field):
    with pytest.raises(SpecError) as error:
        FoldersSpec(**{field: "all"})
    assert error.value.field == f"FoldersSpec.{field}"


def test_images_with_rare_endings_are_read(camvid_folder):
    for part in ("train", "val"):
        Image.new("RGB", (6, 4)).save(camvid_folder / part / "c.ppm")
        Image.fromarray(LABEL).save(camvid_folder / f"{part}annot" / "c.pgm")
    assert len(FoldersSpec(test="val").read(camvid_folder).train) == 3


def test_unmatched_files_with_rare_endings_are_ignored_with_a_warning(camvid_folder):
    before = FoldersSpec().read(camvid_folder)
    train, labels = camvid_folder / "train", camvid_folder / "trainannot"
    Image.new("L", (3, 3)).save(train / "a.gif")
    Image.new("RGB", (3, 3)).save(train / "b.ppm")
    for name in ("legend.gif", "b.gif", "old.pgm", "old.gif"):
        Image.new("L", (3, 3)).save(labels / name)
    (train / "c.tga").write_bytes(b"no format that is read")
    with pytest.warns(DataWarning, match="ignored") as warned:
        after = FoldersSpec().read(camvid_folder)
    assert after.train.names == before.train.names
    assert after.hashes == before.hashes
    assert after.data_notes == before.data_notes | {
        "train: files with the same name as another, ignored": 5,
        "train: files without a counterpart, ignored": 1,
    }
    assert any("(the first is legend.gif)" in str(each.message) for each in warned)


@pytest.mark.parametrize("ending", ["apng", "gif", "jfif", "jpe", "pgm", "pnm", "ppm"])
def test_images_of_each_rare_ending_are_read_with_their_label(camvid_folder, ending):
    kind = "PNG" if ending == "apng" else None
    Image.new("L", (6, 4)).save(camvid_folder / "train" / f"c.{ending}", kind)
    Image.fromarray(LABEL).save(camvid_folder / "trainannot" / "c.png")
    corpus = FoldersSpec().read(camvid_folder)
    assert len(corpus.train) == 3
    assert corpus.train[2].image.shape == (3, 4, 6)


def test_images_with_rare_endings_and_no_label_are_refused(camvid_folder):
    for part in ("train", "trainannot"):
        for name in ("a.png", "b.png"):
            (camvid_folder / part / name).unlink()
    Image.new("RGB", (6, 4)).save(camvid_folder / "train" / "c.ppm")
    assert "1 images or labels without a counterpart" in str(refusal(camvid_folder))


def test_line_numbers_count_line_feeds_only(camvid_folder):
    text = "train/b.png\u2028trainannot/b.png\x0c\x85\r\n\r\ntrain/a.png\n"
    (camvid_folder / "train.txt").write_bytes(text.encode())
    assert refusal(camvid_folder).field == f"{camvid_folder / 'train.txt'}:3"


def test_the_labels_of_a_list_are_checked(camvid_folder):
    (camvid_folder / "train.txt").write_text("train/b.png trainannot/b.png\n")
    Image.fromarray(np.where(LABEL == 2, 255, LABEL)).save(camvid_folder / "trainannot" / "b.png")
    assert 'have 12 pixels of the class "sky"' in str(refusal(camvid_folder))
