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
Threads = Annotated[
    int | None, typer.Option(help="Threads of each process of a run. Default: fill the cores.")
]
NumWorkers = Annotated[
    int, typer.Option(min=0, help="Processes that prepare batches, for each process of a run.")
]
Retry = Annotated[
    str | None, typer.Option(help='"failed": run failed runs again.', metavar="failed")
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="Time for this command, such as 2h or 1h30m: the most informative runs first, and "
        "none that would not end in time.",
        metavar="TIME",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


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


def parse_budget(text: str | None) -> float | None:
    """The seconds of "45s", "90m", "2h", "1.5h", "1h30m" or "1d"."""
    if text is None:
        return None
    pattern = "".join(rf"(?:(\d{{1,9}}(?:\.\d{{1,9}})?){unit})?" for unit in _SECONDS)
    parts = re.fullmatch(pattern, text.strip().lower(), re.ASCII)
    amounts = zip(parts.groups(), _SECONDS.values(), strict=True) if parts else ()
    seconds = sum(float(amount) * unit for amount, unit in amounts if amount)
    if seconds <= 0:
        message = f"--budget {shorten(text)} is no length of time; write 90m, 2h or 1h30m"
        raise StudyError(message, "--budget")
    return seconds
