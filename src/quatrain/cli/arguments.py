"""Arguments that several commands of `quatrain study` have."""

import re
from pathlib import Path
from typing import Annotated

import typer

from quatrain.specs import StudyError
from quatrain.specs.errors import shorten
from quatrain.study.names import LARGEST_SEED, MOST_SEEDS, too_many_seeds

Cells = Annotated[
    list[str] | None,
    typer.Option(help='A glob of cell names or "group/name"; can be repeated. Default: all.'),
]
Seeds = Annotated[
    str | None, typer.Option(help='Seeds, such as "0,1,2" or "0-4". Default: those of the study.')
]
StudyFile = Annotated[Path, typer.Argument(help="The study file, a Python file.", metavar="STUDY")]
Out = Annotated[
    Path | None,
    typer.Option(help="The folder of results; by default runs/NAME for a study file NAME.py."),
]
Data = Annotated[Path | None, typer.Option(help="The folder of data, for studies that read one.")]
Device = Annotated[str, typer.Option(help="The device, such as cpu or cuda:0.")]
Jobs = Annotated[int | None, typer.Option(help="Runs at once. Default: fill the cores.")]
Threads = Annotated[int | None, typer.Option(help="Threads of each run. Default: fill the cores.")]
NumWorkers = Annotated[
    int, typer.Option(min=0, help="Processes of each run that prepare its batches.")
]
Retry = Annotated[
    str | None, typer.Option(help='"failed": run failed runs again.', metavar="failed")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def results_folder(study: Path, out: Path | None) -> Path:
    """The folder of the results of a study file."""
    return absolute("--out", Path("runs") / study.stem if out is None else out)


def absolute(option: str, path: Path) -> Path:
    """The absolute path, since a study file may change the current folder."""
    try:
        path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"{option} {shorten(str(path))} is no valid path ({reason}); correct it"
        raise StudyError(message, option) from error
    return path.absolute()


def parse_retry(text: str | None) -> bool:
    """Whether failed runs are run again."""
    if text not in {None, "failed"}:
        raise StudyError(f"--retry {shorten(text)} is unknown; write --retry failed", "--retry")
    return text == "failed"


def parse_seeds(text: str | None) -> list[int] | None:
    """Read "0,1,2", "0-4", or both together: "0,3-5"."""
    if text is None:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        numbers = re.fullmatch(r" *([0-9]{1,20})(?:-([0-9]{1,20}))? *", part)
        first, last = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (0, -1)
        if last < first:
            raise StudyError(
                f"--seeds {shorten(text)} is not a list of whole numbers from 0 to {LARGEST_SEED}; "
                'write "0,1,2" or "0-4"',
                "--seeds",
            )
        if len(seeds) + last - first >= MOST_SEEDS:
            raise too_many_seeds(f"{len(seeds) + last - first + 1:,}")
        seeds.extend(range(first, last + 1))
    return seeds
