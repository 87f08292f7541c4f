"""Download files of a repository of the Hugging Face hub, if huggingface_hub is installed."""

import re
from collections.abc import Iterable
from pathlib import Path

from quatrain.specs import DataError, name_missing_extra

_REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def is_repository(name: str) -> bool:
    """Whether a name has the form "owner/name" of a repository."""
    return _REPOSITORY.fullmatch(name) is not None and not name.startswith(("./", "../"))


def download(repository: str, names: Iterable[str], revision: str | None = None) -> list[Path]:
    """The paths of files of a repository in the local cache, downloaded if needed.

    Raises:
        MissingPackageError: if huggingface_hub is not installed.
        DataError: if a file cannot be downloaded.
    """
    with name_missing_extra():
        from huggingface_hub import hf_hub_download
    try:
        return [Path(hf_hub_download(repository, name, revision=revision)) for name in names]
    except Exception as error:  # of the client, of its transport, or of the disk
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        text = f"{repository} is no local folder, and cannot be downloaded from the hub ({reason})"
        raise DataError(
            f"{text}; correct the name, or download it and pass the folder", "source"
        ) from error
