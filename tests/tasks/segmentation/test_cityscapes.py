import numpy as np
import pytest
from PIL import Image

from quatrain.specs import DataError
from quatrain.tasks.segmentation.cityscapes import CityscapesSpec, cityscapes_classes
from quatrain.tasks.segmentation.corpus import IGNORE
from quatrain.tasks.vision import format_names

pytestmark = pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")
IDS = np.arange(34, dtype=np.uint8)[None]


def fill(folder, labels="labelIds", stored=IDS):
    for part in ("train", "val"):
        for city in ("ulm", "aachen"):
            stem = f"{city}_000000_000019"
            homes = [folder / kind / part / city for kind in ("leftImg8bit", "gtFine")]
            for home in homes:
                home.mkdir(parents=True)
            image = np.zeros((*stored.shape, 3), np.uint8)
            Image.fromarray(image).save(homes[0] / f"{stem}_leftImg8bit.png")
            Image.fromarray(stored).save(homes[1] / f"{stem}_gtFine_{labels}.png")
            (homes[1] / f"{stem}_gtFine_polygons.json").write_text("{}")
    return folder


def test_published_ids_become_the_19_classes(tmp_path):
    corpus = CityscapesSpec().read(fill(tmp_path))
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [2, 2, 2]
    assert "aachen" in corpus.train.names[0]
    assert len(corpus.classes) == 19
    label = corpus.train[0].label[0].tolist()
    assert sorted(index for index in label if index != IGNORE) == list(range(19))
    values = {
        corpus.classes[index].name: value for value, index in enumerate(label) if index != IGNORE
    }
    assert (values["road"], values["car"], values["bicycle"]) == (7, 26, 33)
    assert label[0] == label[29] == IGNORE


def test_training_ids_are_unchanged(tmp_path):
    stored = np.array([[0, 18, 255]], np.uint8)
    corpus = CityscapesSpec(labels="labelTrainIds").read(fill(tmp_path, "labelTrainIds", stored))
    assert corpus.train[0].label.tolist() == [[0, 18, IGNORE]]
    assert corpus.classes == cityscapes_classes("labelIds").entries


def test_values_beyond_the_ids_are_refused(tmp_path):
    with pytest.raises(DataError) as error:
        CityscapesSpec().read(fill(tmp_path, stored=np.array([[34]], np.uint8)))
    assert "the unknown value 34 in row 0, column 0" in str(error.value)


def test_missing_folders_and_labels_are_refused(tmp_path):
    with pytest.raises(DataError) as error:
        CityscapesSpec().read(tmp_path)
    assert error.value.field == str(tmp_path / "leftImg8bit" / "train")
    fill(tmp_path)
    with pytest.raises(DataError) as error:
        CityscapesSpec(labels="labelTrainIds").read(tmp_path)
    assert "2 of 2 files of the train part" in str(error.value)
    with pytest.raises(DataError) as error:
        CityscapesSpec().read(None)
    assert error.value.field == "--data"


def test_training_ids_in_files_of_published_ids_give_warnings(tmp_path):
    stored = np.array([[*range(19), 255]], np.uint8)
    data_notes = CityscapesSpec().read(fill(tmp_path, stored=stored)).data_notes
    absent = format_names([entry.name for entry in cityscapes_classes("labelIds").entries[6:]])
    assert data_notes["train: pixels ignored, 70.0 % of all"] == 28
    assert data_notes[f"train: classes without a pixel: {absent}"] == 13


def test_published_ids_in_files_of_training_ids_are_refused(tmp_path):
    with pytest.raises(DataError) as error:
        CityscapesSpec(labels="labelTrainIds").read(fill(tmp_path, "labelTrainIds"))
    assert "the unknown value 19" in str(error.value)
