"""Study files to start from: the studies of the project, shipped with the package."""

from dataclasses import dataclass
from pathlib import Path

from quatrain.specs import StudyError
from quatrain.specs.errors import shorten


@dataclass(frozen=True)
class Template:
    """A study file that `quatrain study new` writes."""

    file: str
    """Its name in the folder `studies`."""
    needs_data: bool
    """Whether its studies read a folder of data, given as `--data`."""


TEMPLATES = {
    "numerals": Template("numerals_terms.py", needs_data=False),
    "digits": Template("digits_detection.py", needs_data=False),
    "own-network": Template("own_network.py", needs_data=False),
    "coco": Template("coco_detection.py", needs_data=True),
    "voc": Template("voc_detection.py", needs_data=True),
    "folders": Template("folders_segmentation.py", needs_data=True),
    "cityscapes": Template("paper_cityscapes.py", needs_data=True),
    "parallel-text": Template("parallel_text.py", needs_data=True),
}

TEMPLATE_FOLDER = Path(__file__).parent / "templates"
"""The copies of the studies in a wheel."""

_REPOSITORY = Path(__file__).parents[3] / "studies"
"""The folder of an editable installation, which has no copies of the studies."""


def write_template(name: str, path: Path | None = None) -> Path:
    """Write the study file `name` of `TEMPLATES` to a .py file or a folder; return its path."""
    if name not in TEMPLATES:
        message = f"no template is named {shorten(name)}; use one of {', '.join(TEMPLATES)}"
        raise StudyError(message, "template")
    file = TEMPLATES[name].file
    folder = TEMPLATE_FOLDER if TEMPLATE_FOLDER.is_dir() else _REPOSITORY
    text = (folder / file).read_text(encoding="utf-8")
    path = Path(file) if path is None else path
    try:
        path = path / file if path.is_dir() else path
        if path.suffix != ".py":
            raise StudyError(f"{path} is no Python file; give it the ending .py", str(path))
        text = text.replace(f"studies/{file}", str(path))
        with path.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError as error:
        raise StudyError(f"{path} exists; use another PATH", str(path)) from error
    except OSError as error:
        message = f"{path} cannot be written ({error.strerror or error}); use another PATH"
        raise StudyError(message, str(path)) from error
    return path
