import hashlib

import numpy as np
import pytest
from PIL import Image

from quatrain.specs import DataError, SpecError, identity
from quatrain.tasks.segmentation.folders import FoldersSpec
from quatrain.tasks.vision import DataWarning
from tasks.segmentation.conftest import LABEL

pytestmark = pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")


def problem(folder, spec=None):
    with pytest.raises(DataError) as caught:
        (spec or FoldersSpec()).read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_and_labels_of_one_name_belong_together(camvid_folder):
    (camvid_folder / "train" / ".hidden.png").write_text("no image")
    (camvid_folder / "train" / "notes.txt").write_text("no image")
    corpus = FoldersSpec().read(camvid_folder)
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [2, 2, 2]
    assert [entry.name for entry in corpus.classes] == ["sky", "road"]
    assert corpus.train[0].label.unique().tolist() == [0, 1, 255]


def test_a_list_decides_which_images_there_are_and_their_order(camvid_folder):
    text = "train/b.png trainannot/b.png\n\nval/a.png valannot/b.png\n"
    (camvid_folder / "train.txt").write_text(text)
    corpus = FoldersSpec().read(camvid_folder)
    assert [name.split("/")[-2:] for name in corpus.train.names] == [
        ["train", "b.png"],
        ["val", "a.png"],
    ]
    assert corpus.hashes["train.txt"] == hashlib.sha256(text.encode()).hexdigest()


def test_other_folders_and_names_of_labels_are_told_by_patterns(camvid_folder):
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
    assert corpus.skipped == {
        f"{part}: pixels ignored, 16.7 % of all": 8 for part in ("train", "val", "test")
    }


def test_an_image_or_a_label_alone_is_refused(camvid_folder):
    (camvid_folder / "trainannot" / "a.png").unlink()
    message = problem(camvid_folder)
    assert f"images or labels alone: 1, the first {camvid_folder / 'train' / 'a.png'}" in message
    (camvid_folder / "train" / "a.png").unlink()
    (camvid_folder / "train" / "b.png").rename(camvid_folder / "train" / "b.txt")
    message = problem(camvid_folder)
    assert f'the train part is "{camvid_folder / "train"}", expected images' in message
    assert "b.txt" in message


def test_two_files_of_one_name_are_refused(camvid_folder):
    (camvid_folder / "train" / "a.jpg").write_bytes(b"")
    assert "a.jpg and a.png" in problem(camvid_folder)


@pytest.mark.parametrize("line", ["train/a.png", "train/a.png trainannot/a.png more"])
def test_a_line_that_is_no_pair_is_refused(camvid_folder, line):
    (camvid_folder / "train.txt").write_text(f"train/b.png trainannot/b.png\n{line}\n")
    assert f"{camvid_folder / 'train.txt'}:2 is" in problem(camvid_folder)


def test_what_is_missing_is_named(camvid_folder):
    assert "--data" in problem(None)
    message = problem(camvid_folder, FoldersSpec(test="tset"))
    assert str(camvid_folder / "tset") in message
    assert "a list tset.txt" in message
    assert "classes.yaml" in problem(camvid_folder, FoldersSpec(classes="classes.yaml"))
    (camvid_folder / "train.txt").write_text("")
    assert f'{camvid_folder / "train.txt"} is "a list of nothing"' in problem(camvid_folder)
    (camvid_folder / "train.txt").write_text("train/z.png trainannot/a.png")
    assert "missing 1 of 1" in problem(camvid_folder)


def test_a_spec_comes_back_from_json_with_its_identity():
    spec = FoldersSpec(test="val")
    assert identity(FoldersSpec.from_json(spec.to_json()), 0) == identity(spec, 0)


@pytest.mark.data
def test_real_folders_are_read_whole(shared_data):
    mini = FoldersSpec(test="val").read(shared_data / "mini" / "segmentation")
    assert [len(mini.train), len(mini.valid)] == [32, 16]
    assert mini.train[5].label.shape == (180, 240)
    full = FoldersSpec().read(shared_data / "camvid")
    assert [len(full.train), len(full.valid), len(full.test)] == [367, 101, 233]
    assert full.classes[8].name == "car"
    assert full.skipped == {
        "train: pixels ignored, 3.9 % of all": 2503995,
        "val: pixels ignored, 1.7 % of all": 297271,
        "test: pixels ignored, 3.8 % of all": 1543383,
    }


@pytest.mark.parametrize("field", ["lists", "images", "labels"])
def test_a_pattern_that_would_read_the_same_files_for_every_part_is_refused(field):
    with pytest.raises(SpecError, match=rf"FoldersSpec\.{field} is .*write \{{part\}}"):
        FoldersSpec(**{field: "all"})


def test_images_of_rarer_endings_are_not_passed_over(camvid_folder):
    for part in ("train", "val"):
        Image.new("RGB", (6, 4)).save(camvid_folder / part / "c.ppm")
        Image.fromarray(LABEL).save(camvid_folder / f"{part}annot" / "c.pgm")
    assert len(FoldersSpec(test="val").read(camvid_folder).train) == 3


def test_stray_files_of_rare_endings_are_passed_over_and_counted(camvid_folder):
    before = FoldersSpec().read(camvid_folder)
    train, labels = camvid_folder / "train", camvid_folder / "trainannot"
    Image.new("L", (3, 3)).save(train / "a.gif")
    Image.new("RGB", (3, 3)).save(train / "b.ppm")
    for name in ("legend.gif", "b.gif", "old.pgm", "old.gif"):
        Image.new("L", (3, 3)).save(labels / name)
    (train / "c.tga").write_bytes(b"no format that is read")
    with pytest.warns(DataWarning, match="passed over") as warned:
        after = FoldersSpec().read(camvid_folder)
    assert after.train.names == before.train.names
    assert after.hashes == before.hashes
    assert after.skipped == before.skipped | {
        "train: images or labels beside another of their name, passed over": 5,
        "train: images or labels alone, passed over": 1,
    }
    assert any("(the first is legend.gif)" in str(each.message) for each in warned)


@pytest.mark.parametrize("ending", ["apng", "gif", "jfif", "jpe", "pgm", "pnm", "ppm"])
def test_images_of_each_rare_ending_are_read_where_they_have_a_label(camvid_folder, ending):
    kind = "PNG" if ending == "apng" else None
    Image.new("L", (6, 4)).save(camvid_folder / "train" / f"c.{ending}", kind)
    Image.fromarray(LABEL).save(camvid_folder / "trainannot" / "c.png")
    corpus = FoldersSpec().read(camvid_folder)
    assert len(corpus.train) == 3
    assert corpus.train[2].image.shape == (3, 4, 6)


def test_images_of_rare_endings_without_any_label_are_refused(camvid_folder):
    for part in ("train", "trainannot"):
        for name in ("a.png", "b.png"):
            (camvid_folder / part / name).unlink()
    Image.new("RGB", (6, 4)).save(camvid_folder / "train" / "c.ppm")
    assert "images or labels alone: 1, the first" in problem(camvid_folder)


def test_lines_of_a_list_are_counted_as_an_editor_counts_them(camvid_folder):
    text = "train/b.png\u2028trainannot/b.png\x0c\x85\r\n\r\ntrain/a.png\n"
    (camvid_folder / "train.txt").write_bytes(text.encode())
    assert f"{camvid_folder / 'train.txt'}:3 is" in problem(camvid_folder)


def test_a_list_is_held_to_the_same_counts(camvid_folder):
    (camvid_folder / "train.txt").write_text("train/b.png trainannot/b.png\n")
    Image.fromarray(np.where(LABEL == 2, 255, LABEL)).save(camvid_folder / "trainannot" / "b.png")
    assert 'the labels of the train part is "12 pixels of the class "sky"' in problem(camvid_folder)
