"""A folder of three tiny parts in CamVid's layout."""

import json

import numpy as np
import pytest
from PIL import Image

CLASSES = {
    "classes": [
        {"id": 2, "name": "road", "color": [128, 64, 128], "share": 0.3},
        {"id": 0, "name": "sky", "color": [128, 128, 128]},
    ],
    "ignore_index": 255,
    "ignore_color": [0, 0, 0],
    "image_size_wh": [6, 4],
}
LABEL = np.array([[0, 0, 2, 2, 255, 0]] * 4, np.uint8)


@pytest.fixture
def camvid_folder(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES))
    random = np.random.default_rng(0)
    for part in ("train", "val", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / f"{part}annot").mkdir()
        for image in ("a", "b"):
            pixels = random.integers(0, 256, (4, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / f"{image}.png")
            Image.fromarray(LABEL).save(tmp_path / f"{part}annot" / f"{image}.png")
    return tmp_path
