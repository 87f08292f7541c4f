"""The pictures of a study's runs, embedded in the page.

    gallery = build_gallery(study)
    gallery.exhibits[0].pictures[0].source      # "data:image/png;base64,..."

Each cell shows the pictures of its finished run with the lowest seed. Omitted pictures are counted.
"""

import base64
import struct
from dataclasses import dataclass, field
from pathlib import Path

from quatrain.report.runs import StudyRuns

MAX_BYTES = 2_000_000
"""Size of the largest picture that is shown."""
MAX_PAGE_BYTES = 20_000_000
"""Size of all pictures of a page together."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8s4x4sII")


@dataclass(frozen=True)
class Picture:
    """A PNG as a data URI; width and height in pixels, the size of its file in bytes."""

    name: str
    source: str
    width: int
    height: int
    size: int


@dataclass
class Exhibit:
    """A run with pictures."""

    seed: int
    folder: Path
    names: list[str]
    """Names of its pictures, according to its record."""
    cells: list[str] = field(default_factory=list)
    """"group, cell" of all cells that the run belongs to."""
    pictures: list[Picture] = field(default_factory=list)
    """The pictures that are shown."""


@dataclass(frozen=True)
class Gallery:
    """The exhibits with pictures, and a sentence per reason for omitted pictures."""

    exhibits: tuple[Exhibit, ...]
    left_out: tuple[str, ...]


def build_gallery(study: StudyRuns) -> Gallery:
    """Read the pictures that the records name.

    The first picture of each run is read before the second of any, so that cells remain comparable
    where a page cannot hold all.
    """
    exhibits = _exhibits(study)
    left_out: dict[str, list[str]] = {}
    free = MAX_PAGE_BYTES
    for rank in range(max((len(exhibit.names) for exhibit in exhibits), default=0)):
        for exhibit in exhibits:
            if rank >= len(exhibit.names):
                continue
            name = exhibit.names[rank]
            picture = _read(exhibit.folder, name, free)
            if isinstance(picture, Picture):
                exhibit.pictures.append(picture)
                free -= picture.size
            else:
                left_out.setdefault(picture, []).append(f"{name} of {exhibit.cells[0]}")
    reasons = [f"{len(names)} {why} (the first: {names[0]})" for why, names in left_out.items()]
    return Gallery(tuple(exhibit for exhibit in exhibits if exhibit.pictures), tuple(reasons))


def _exhibits(study: StudyRuns) -> list[Exhibit]:
    """For each cell the run with the lowest seed that has pictures; shared runs once."""
    exhibits: dict[str, Exhibit] = {}
    for cell in study.manifest.cells:
        for seed, run in study.runs_of(cell).items():
            artifacts = run.record.artifacts if run.record else ()
            if names := [name for name in artifacts if name.lower().endswith(".png")]:
                new = Exhibit(seed, run.folder, names)
                exhibit = exhibits.setdefault(cell.identities[seed], new)
                exhibit.cells.append(f"{cell.group}, {cell.name}")
                break
    return list(exhibits.values())


def _read(folder: Path, name: str, free: int) -> Picture | str:
    """The picture, or the reason why it is omitted; `free` is in bytes."""
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return "outside the folder of its run"
        if not path.is_file():
            return "missing"
        size = path.stat().st_size
        if size > MAX_BYTES:
            return f"of more than {MAX_BYTES // 1_000_000} MB"
        if size > free:
            return f"beyond the {MAX_PAGE_BYTES // 1_000_000} MB of a page"
        content = path.read_bytes()
    except (OSError, RuntimeError, ValueError):  # circular links; a name with a zero byte
        return "unreadable"
    if len(content) < _HEADER.size or not content.startswith(_SIGNATURE):
        return "not a PNG"
    _, _, width, height = _HEADER.unpack_from(content)
    source = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return Picture(name, source, width, height, size)
