"""Options of the command line that choose an engine, and the engine for them."""

import enum
from collections.abc import Sequence
from typing import Annotated

import typer

from quatrain.specs import StudyError
from quatrain.study.engines import Engine, Ray, Slurm


class Place(enum.StrEnum):
    """Where the runs of `study run` are executed, and those of `study plan` would be."""

    local = enum.auto()
    slurm = enum.auto()
    ray = enum.auto()


class ClusterEngine(enum.StrEnum):
    """The engines of `study submit`."""

    slurm = enum.auto()
    ray = enum.auto()


SlurmOptions = Annotated[
    list[str] | None,
    typer.Option(
        help="An option of sbatch without its dashes, such as partition=gpu; can be repeated.",
        metavar="KEY=VALUE",
    ),
]
RayOptions = Annotated[
    list[str] | None,
    typer.Option(
        help="An amount of a resource of each worker on Ray: num_cpus, num_gpus, memory or a "
        "custom resource, such as num_gpus=0.5; can be repeated.",
        metavar="KEY=NUMBER",
    ),
]


def check_options(
    place: str, slurm: Sequence[str] | None, ray: Sequence[str] | None = None
) -> None:
    """Check that options of a cluster are given with that cluster."""
    for name, options in (("slurm", slurm), ("ray", ray)):
        if options and name != place:
            message = f"--{name} has options of a {name.capitalize()} cluster; add --on {name}"
            raise StudyError(message, f"--{name}")


def cluster_of(
    place: Place | ClusterEngine, slurm: Sequence[str] | None, ray: Sequence[str] | None
) -> Engine:
    """The engine of a cluster, with its options."""
    check_options(place, slurm, ray)
    return Ray(ray or ()) if place == "ray" else Slurm(slurm or ())
