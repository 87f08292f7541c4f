"""CamVid and folders like it: images in one folder, labels in another, classes in a file.

    classes.json                     names, colours and values, see `classes`
    train/0001TP_006690.jpg          trainannot/0001TP_006690.png
    train.txt                        "train/0001TP_006690.jpg trainannot/0001TP_006690.png", ...

A part has the images of its list, or without a list all images of its folder, each with the label
of the same name. Files with rare endings and no counterpart are ignored and counted.

Source: Brostow et al. 2009, https://doi.org/10.1016/j.patrec.2008.04.005, in the layout of SegNet,
Badrinarayanan et al. 2015, https://arxiv.org/abs/1511.00561.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from quatrain.specs import DataError, Spec
from quatrain.specs.errors import shorten
from quatrain.tasks.segmentation.assemble import Pair, read_pairs
from quatrain.tasks.segmentation.classes import parse_classes
from quatrain.tasks.segmentation.corpus import SegmentationCorpus
from quatrain.tasks.text import data_folder, decode_text, list_folder, read_bytes, split_lines
from quatrain.tasks.vision import DataWarnings
from quatrain.tasks.vision.files import check_pattern

_USUAL = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_RARE = frozenset({".apng", ".gif", ".jfif", ".jpe", ".pbm", ".pgm", ".pnm", ".ppm"})
_ENDINGS = _USUAL | _RARE
"""Endings of readable formats. Those in `_RARE` are also used for previews and legends, so such a
file is ignored if it has no counterpart, or if a file with a usual ending has the same name."""


class FoldersSpec(Spec):
    """The lists or folders of the three parts, and the file of classes.

    In the patterns, {part} is replaced by the name of a part.

    Example:
        >>> FoldersSpec(images="img/{part}", labels="lab/{part}", label_suffix="_L").classes
        'classes.json'
    """

    kind: Literal["folders"] = "folders"
    train: str = "train"
    valid: str = "val"
    test: str = "test"
    """The part of the final scores; without a test part, repeat the validation part."""
    lists: str = "{part}.txt"
    """An optional list with an image and a label on each line, relative to the data folder."""
    images: str = "{part}"
    labels: str = "{part}annot"
    label_suffix: str = ""
    """The suffix that label names have in addition to image names, before the ending."""
    classes: str = "classes.json"

    @model_validator(mode="after")
    def _patterns_name_the_part(self) -> "FoldersSpec":
        for name in ("lists", "images", "labels"):
            check_pattern(getattr(self, name), f"FoldersSpec.{name}")
        return self

    def read(self, folder: Path | None) -> SegmentationCorpus:
        """Read and check all three parts.

        Raises:
            DataError: if a file is missing or damaged, an image has no label, the two differ in
                size, or a label has an unknown value.
        """
        folder = data_folder(folder, "images and labels")
        content = read_bytes(folder / self.classes)
        shared = {self.classes: hashlib.sha256(content).hexdigest()}
        lists: dict[str, str] = {}
        data_notes: dict[str, int] = {}

        def pairs(part: str) -> list[Pair]:
            path = folder / self.lists.replace("{part}", part)
            if path.is_file():
                listing = read_bytes(path)
                lists[path.relative_to(folder).as_posix()] = hashlib.sha256(listing).hexdigest()
                return _parse_list(folder, path, listing)
            problems = DataWarnings()
            matched = self._match_names(folder, part, problems)
            data_notes.update(problems.warn(part))
            return matched

        classes = parse_classes(content, self.classes)
        corpus = read_pairs((self.train, self.valid, self.test), pairs, classes, shared)
        return replace(
            corpus, hashes=shared | lists | corpus.hashes, data_notes=data_notes | corpus.data_notes
        )

    def _match_names(self, folder: Path, part: str, problems: DataWarnings) -> list[Pair]:
        """Pairs of an image and the label of its name."""
        homes = [folder / name.replace("{part}", part) for name in (self.images, self.labels)]
        for home in homes:
            if not home.is_dir():
                listing = self.lists.replace("{part}", part)
                problem = f"the {part} part has neither a folder {home} nor a list {listing}"
                raise DataError(f"{problem}; {list_folder(folder)}", str(home))
        images, labels = (_files_by_stem(home, problems) for home in homes)
        if not images:
            problem = f"{homes[0]} has no images ending in {', '.join(sorted(_ENDINGS))}"
            raise DataError(f"{problem}; {list_folder(homes[0])}", str(homes[0]))
        images = {f"{stem}{self.label_suffix}": path for stem, path in images.items()}
        pairs = [Pair(path, labels[stem]) for stem, path in images.items() if stem in labels]
        unmatched = [path for stem, path in images.items() if stem not in labels]
        unmatched += [path for stem, path in labels.items() if stem not in images]
        refused = [path for path in unmatched if not (pairs and _is_rare(path))]
        if refused:
            message = (
                f"the {part} part has {len(refused)} images or labels without a counterpart, the "
                f"first {refused[0]}; add for each image a label of its name and "
                f'"{self.label_suffix}", or write a list of pairs'
            )
            raise DataError(message, f"the {part} part")
        for path in unmatched:
            problems.add("files without a counterpart, ignored", path.name)
        return pairs


def _files_by_stem(home: Path, problems: DataWarnings) -> dict[str, Path]:
    """Of each name the file with a usual ending, else a single file with a rare one, sorted."""
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(home.iterdir()):
        if path.suffix.lower() in _ENDINGS and not path.name.startswith("."):
            by_stem.setdefault(path.stem, []).append(path)
    files: list[Path] = []
    for paths in by_stem.values():
        usual = [path for path in paths if not _is_rare(path)]
        if len(usual) > 1:
            names = f"{usual[0].name} and {usual[1].name}"
            raise DataError(f"{home} has two files of one name, {names}; remove one", str(home))
        chosen = usual or (paths if len(paths) == 1 else [])
        files += chosen
        for path in paths:
            if path not in chosen:
                problems.add("files with the same name as another, ignored", path.name)
    return {path.stem: path for path in sorted(files)}


def _is_rare(path: Path) -> bool:
    return path.suffix.lower() in _RARE


def _parse_list(folder: Path, path: Path, content: bytes) -> list[Pair]:
    pairs: list[Pair] = []
    for number, line in enumerate(split_lines(decode_text(content, str(path))), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            problem = f"{path}:{number} is {shorten(line.strip())}"
            raise DataError(f"{problem}; write an image and a label", f"{path}:{number}")
        pairs.append(Pair(folder / words[0], folder / words[1]))
    if not pairs:
        message = f"{path} is an empty list; write an image and its label on each line"
        raise DataError(message, str(path))
    return pairs
