import pytest

from quatrain.cli.engines import ClusterEngine, Place, check_options, cluster_of
from quatrain.specs import StudyError
from quatrain.study.engines import Ray, Slurm


@pytest.mark.parametrize("place", [Place.ray, ClusterEngine.ray])
def test_the_engine_is_that_of_the_place(place):
    assert isinstance(cluster_of(place, None, ["num_gpus=0.5"]), Ray)
    assert isinstance(cluster_of(Place.slurm, ["partition=gpu"], None), Slurm)


@pytest.mark.parametrize(
    ("place", "options", "field"),
    [
        ("local", (["time=1"], None), "--slurm"),
        ("ray", (["time=1"], None), "--slurm"),
        ("local", (None, ["num_gpus=1"]), "--ray"),
        ("slurm", (None, ["num_gpus=1"]), "--ray"),
    ],
)
def test_options_of_another_place_are_an_error(place, options, field):
    with pytest.raises(StudyError) as error:
        check_options(place, *options)
    assert error.value.field == field
