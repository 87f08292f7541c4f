"""Cityscapes in its published folders: street scenes of 2048 x 1024, and 19 classes.

    leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png
    gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png

Labels have the published ids 0...33, of which 19 are classes; the others are ignored.

Source: Cordts et al. 2016, The Cityscapes Dataset, https://arxiv.org/abs/1604.01685; ids, names and
colours are those of its scripts, https://github.com/mcordts/cityscapesScripts.
"""

from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from quatrain.specs import DataError, Spec
from quatrain.tasks.segmentation.assemble import Pair, read_pairs
from quatrain.tasks.segmentation.classes import Classes, parse_classes
from quatrain.tasks.segmentation.corpus import IGNORE, SegmentationCorpus
from quatrain.tasks.text import data_folder, list_folder


class CityscapesSpec(Spec):
    """The splits of the three parts; the labels of the published test split are not public.

    Example:
        >>> CityscapesSpec().test
        'val'
    """

    kind: Literal["cityscapes"] = "cityscapes"
    train: str = "train"
    valid: str = "val"
    test: str = "val"
    labels: Literal["labelIds", "labelTrainIds"] = "labelIds"
    """The published ids, or the training ids 0...18 written by Cityscapes' script."""

    def read(self, folder: Path | None) -> SegmentationCorpus:
        """Read and check all three parts.

        Raises:
            DataError: if an image has no label, a file is damaged, or a label has another value.
        """
        root = data_folder(folder, "Cityscapes, with leftImg8bit and gtFine in it")
        classes = cityscapes_classes(self.labels)
        parts = (self.train, self.valid, self.test)
        return read_pairs(parts, lambda part: self._pairs(root, part), classes, {})

    def _pairs(self, folder: Path, part: str) -> list[Pair]:
        home = folder / "leftImg8bit" / part
        images = sorted(home.glob("*/*_leftImg8bit.png"))
        if not images:
            problem = f"{home} has no folders of cities with *_leftImg8bit.png"
            raise DataError(f"{problem}; {list_folder(home)}", str(home))
        suffix = f"gtFine_{self.labels}.png"
        return [
            Pair(path, folder / "gtFine" / part / path.parent.name / f"{stem}{suffix}")
            for path in images
            for stem in [path.name.removesuffix("leftImg8bit.png")]
        ]


@cache
def cityscapes_classes(labels: str) -> Classes:
    """The 19 classes, by "labelIds" or by "labelTrainIds"."""
    name = "cityscapes.json"
    classes = parse_classes(files(__package__ or "").joinpath(name).read_bytes(), name)
    if labels == "labelIds":
        return classes
    values = {index: index for index in (*range(len(classes.entries)), IGNORE)}
    return replace(classes, values=values)
