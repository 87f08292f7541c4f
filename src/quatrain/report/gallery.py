"""The pictures of a study's runs, inside the page: none is fetched from anywhere.

    gallery = build_gallery(study)
    gallery.exhibits[0].pictures[0].source      # "data:image/png;base64,..."

Of each cell the finished run of the lowest seed is shown. What is not shown is counted and told.
"""

import base64
import struct
from dataclasses import dataclass
from pathlib import Path

from quatrain.report.runs import Run, StudyRuns

LARGEST = 2_000_000
"""Bytes of the largest picture that is shown."""
TOGETHER = 20_000_000
"""Bytes of all pictures of a page."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD = struct.Struct(">8s4x4sII")


@dataclass(frozen=True)
class Picture:
    """A PNG as the page holds it; width and height are in pixels, the size of its file in bytes."""

    name: str
    source: str
    width: int
    height: int
    size: int


@dataclass(frozen=True)
class Exhibit:
    """What one run drew."""

    cells: tuple[str, ...]
    """"group, cell" of all that the run belongs to."""
    seed: int
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Gallery:
    """All exhibits in the order of the cells, and what was left out, in words."""

    exhibits: tuple[Exhibit, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Wanted:
    """A run whose pictures are to be shown."""

    cells: list[str]
    seed: int
    folder: Path
    names: list[str]


def build_gallery(study: StudyRuns) -> Gallery:
    """Read the pictures that the records name.

    Where they are too many for one page, the first of each run goes before the second of any, so
    that cells can still be compared.
    """
    wanted = _wanted(study)
    order = sorted(
        (rank, place) for place, run in enumerate(wanted) for rank in range(len(run.names))
    )
    shown: list[list[Picture]] = [[] for _ in wanted]
    left_out: dict[str, list[str]] = {}
    room = TOGETHER
    for rank, place in order:
        run = wanted[place]
        found = _read(run.folder, run.names[rank], room)
        if isinstance(found, Picture):
            shown[place].append(found)
            room -= found.size
        else:
            left_out.setdefault(found, []).append(f"{run.names[rank]} of {run.cells[0]}")
    return Gallery(
        tuple(
            Exhibit(tuple(run.cells), run.seed, tuple(pictures))
            for run, pictures in zip(wanted, shown, strict=True)
            if pictures
        ),
        tuple(f"{len(names)} {why} (the first: {names[0]})" for why, names in left_out.items()),
    )


def _wanted(study: StudyRuns) -> list[_Wanted]:
    """Of each cell the lowest seed that has pictures; a run of several cells once."""
    wanted: dict[str, _Wanted] = {}
    for cell in study.manifest.cells:
        drawn = [
            (seed, run, names) for seed, run in study.of(cell).items() if (names := _pictures(run))
        ]
        for seed, run, names in drawn[:1]:
            new = _Wanted([], seed, run.folder, names)
            wanted.setdefault(cell.identities[seed], new).cells.append(f"{cell.group}, {cell.name}")
    return list(wanted.values())


def _pictures(run: Run) -> list[str]:
    if run.record is None:
        return []
    return [name for name in run.record.artifacts if name.lower().endswith(".png")]


def _read(folder: Path, name: str, room: int) -> Picture | str:
    """The picture, or why it is not shown."""
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return "outside the folder of its run"
        if not path.is_file():
            return "missing"
        size = path.stat().st_size
        if size > LARGEST:
            return f"of more than {LARGEST // 1_000_000} MB"
        if size > room:
            return f"beyond the {TOGETHER // 1_000_000} MB of a page"
        content = path.read_bytes()
    except (OSError, RuntimeError, ValueError):  # links in a circle; a name with a zero byte
        return "unreadable"
    if len(content) < _HEAD.size or not content.startswith(_SIGNATURE):
        return "no PNG"
    _, _, width, height = _HEAD.unpack_from(content)
    source = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return Picture(name, source, width, height, size)
