"""CamVid and folders like it: images in one folder, labels in another, classes in a file.

    classes.json                     names, colours and values: see `classes`
    train/0001TP_006690.jpg          trainannot/0001TP_006690.png
    train.txt                        "train/0001TP_006690.jpg trainannot/0001TP_006690.png", ...

A list decides which images a part has; without one it is all that the folder holds, image and
label being of one name. Files of rare endings without a counterpart are passed over and counted.

Source: Brostow et al. 2009, https://doi.org/10.1016/j.patrec.2008.04.005, in the layout of SegNet,
Badrinarayanan et al. 2015, https://arxiv.org/abs/1511.00561.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from quatrain.specs import DataError, Spec
from quatrain.tasks.segmentation.assemble import Pair, read_parts
from quatrain.tasks.segmentation.classes import parse_classes
from quatrain.tasks.segmentation.corpus import SegmentationCorpus
from quatrain.tasks.text import list_folder, read_bytes, split_lines
from quatrain.tasks.vision import Tally
from quatrain.tasks.vision.files import data_folder, decode, require_part

_USUAL = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_RARE = frozenset({".apng", ".gif", ".jfif", ".jpe", ".pbm", ".pgm", ".pnm", ".ppm"})
_ENDINGS = _USUAL | _RARE
"""All of formats that can be read. Those in `_RARE` are often of previews and legends too, so such
a file is passed over where it has no counterpart, or where a usual one has its name."""


class FoldersSpec(Spec):
    """Which lists or folders are the three parts, and where their classes are written.

    In the patterns, {part} stands for the name of a part.

    Example:
        >>> FoldersSpec(images="img/{part}", labels="lab/{part}", label_suffix="_L").classes
        'classes.json'
    """

    kind: Literal["folders"] = "folders"
    train: str = "train"
    valid: str = "val"
    test: str = "test"
    """What is scored at the end; where there is no such part, name the validation part again."""
    lists: str = "{part}.txt"
    """A list of image and label, relative to the data folder, a pair a line; it need not exist."""
    images: str = "{part}"
    labels: str = "{part}annot"
    label_suffix: str = ""
    """What the name of a label has more than its image's, before the ending."""
    classes: str = "classes.json"

    @model_validator(mode="after")
    def _patterns_name_the_part(self) -> "FoldersSpec":
        for name in ("lists", "images", "labels"):
            require_part(f"FoldersSpec.{name}", getattr(self, name))
        return self

    def read(self, folder: Path | None) -> SegmentationCorpus:
        """Read and check all three parts.

        Raises:
            DataError: if a file is missing or damaged, an image has no label, the two differ in
                size, or a label holds what no class has.
        """
        folder = data_folder(folder, "images and labels")
        content = read_bytes(folder / self.classes)
        hashes = {self.classes: hashlib.sha256(content).hexdigest()}
        classes = parse_classes(content, self.classes)
        passed_over: dict[str, int] = {}

        def pairs(part: str) -> list[Pair]:
            path = folder / self.lists.replace("{part}", part)
            if not path.is_file():
                tally = Tally()
                found = self._beside_each_other(folder, part, tally)
                passed_over.update(tally.warn(part))
                return found
            listed = read_bytes(path)
            hashes[path.relative_to(folder).as_posix()] = hashlib.sha256(listed).hexdigest()
            return _listed(folder, path, listed)

        parts = (self.train, self.valid, self.test)
        corpus = read_parts(parts, pairs, classes, hashes)
        return replace(corpus, skipped=passed_over | corpus.skipped)

    def _beside_each_other(self, folder: Path, part: str, tally: Tally) -> list[Pair]:
        homes = [folder / name.replace("{part}", part) for name in (self.images, self.labels)]
        for home in homes:
            if not home.is_dir():
                raise DataError(
                    f"the {part} part",
                    str(home),
                    f"a folder that exists, or a list {self.lists.replace('{part}', part)}",
                    list_folder(folder),
                )
        images, labels = (_by_stem(home, tally) for home in homes)
        if not images:
            expected = f"images, of the ending {', '.join(sorted(_ENDINGS))}"
            raise DataError(f"the {part} part", str(homes[0]), expected, list_folder(homes[0]))
        wanted = {f"{stem}{self.label_suffix}": path for stem, path in images.items()}
        alone = [path for stem, path in wanted.items() if stem not in labels]
        alone += [path for stem, path in labels.items() if stem not in wanted]
        pairs = [Pair(path, labels[stem]) for stem, path in wanted.items() if stem in labels]
        refused = [path for path in alone if not (pairs and _is_rare(path))]
        if refused:
            raise DataError(
                f"the {part} part",
                f"images or labels alone: {len(refused)}, the first {refused[0]}",
                f'for each image a label of its name and "{self.label_suffix}"',
                "add what is missing, or write a list of pairs",
            )
        for path in alone:
            tally.add("images or labels alone, passed over", path.name)
        return pairs


def _by_stem(home: Path, tally: Tally) -> dict[str, Path]:
    """The image or label of each name, in the order of the files."""
    found: dict[str, list[Path]] = {}
    for path in sorted(home.iterdir()):
        if path.suffix.lower() in _ENDINGS and not path.name.startswith("."):
            found.setdefault(path.stem, []).append(path)
    chosen = [_choose(paths, home, tally) for paths in found.values()]
    return {path.stem: path for path in sorted(path for path in chosen if path is not None)}


def _choose(paths: list[Path], home: Path, tally: Tally) -> Path | None:
    """The file of a usual ending; of rare ones the only file, or none of several."""
    usual = [path for path in paths if not _is_rare(path)]
    if len(usual) > 1:
        raise DataError(
            f"the files of {home}",
            f"{usual[0].name} and {usual[1].name}",
            "one file of a name",
            "remove one of them",
        )
    chosen = usual[0] if usual else paths[0] if len(paths) == 1 else None
    for path in paths:
        if path != chosen:
            tally.add("images or labels beside another of their name, passed over", path.name)
    return chosen


def _is_rare(path: Path) -> bool:
    return path.suffix.lower() in _RARE


def _listed(folder: Path, path: Path, content: bytes) -> list[Pair]:
    pairs: list[Pair] = []
    for number, line in enumerate(split_lines(decode(content, path)), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise DataError(
                f"{path}:{number}", line.strip(), "an image and a label", "write two paths a line"
            )
        pairs.append(Pair(folder / words[0], folder / words[1]))
    if not pairs:
        expected, remedy = "at least one image, and its label", "name them, a pair a line"
        raise DataError(str(path), "a list of nothing", expected, remedy)
    return pairs
