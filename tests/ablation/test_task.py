import pytest
import torch
from torch import nn

from quatrain.ablation.spec import AblationSpec, Functions, Place
from quatrain.ablation.task import CHANGED, UNCHANGED, AblationTask
from quatrain.specs import InputError, StudyError
from quatrain.training import NonFiniteLoss, load_model

IMAGES = torch.linspace(-1, 1, 2 * 3 * 4 * 5).view(2, 3, 4, 5)


def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))


def train(model, seed, device):
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.rand_like(weight))


def evaluate(model, device):
    return {"error": float(model(IMAGES.to(device)).detach().square().mean())}


def task(mixer="1111", seed=0, place="2", placement="before", **functions):
    from quatrain import parse_mixer

    functions = {"build": build, "train": train, "evaluate": evaluate} | functions
    functions = {"example": IMAGES[:1], "metric": "error"} | functions
    spec = AblationSpec(
        mixer=parse_mixer(mixer, heads=2),
        place=Place(placement=placement, pattern=place),
        code="0",
    )
    return AblationTask(spec, Functions(**functions), seed)


def trained(tmp_path, **changes):
    made = task(**changes)
    return made, made.fit(tmp_path, seed=made.seed, device="cpu", notify=lambda _: None)


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("other", ["w/o", "0010", "deformable"])
def test_cells_share_the_initial_weights_of_common_layers(other):
    first, second = weights(task().build()), weights(task(other).build())
    common = first.keys() & second.keys()
    assert len(common) >= 2
    assert all(torch.equal(first[name], second[name]) for name in common)


def test_seeds_differ_in_initial_weights():
    first, second = weights(task().build()), weights(task(seed=1).build())
    assert not torch.equal(first["network.0.weight"], second["network.0.weight"])


@pytest.mark.parametrize("placement", ["before", "after"])
def test_an_inserted_mixer_keeps_the_initial_output(placement):
    plain, changed = (
        task("w/o").build(),
        task(placement=placement, place="0" if placement == "after" else "2").build(),
    )
    batch = task().example_batch()
    assert torch.equal(plain(**batch), changed(**batch))
    assert len(weights(changed)) > len(weights(plain))


def test_a_mixer_can_replace_a_module():
    def square():
        return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))

    network = task("deformable", place="0", placement="at", build=square).build()
    assert len(weights(network)) == 4  # the weight and bias of the convolution, and of its offsets


def test_training_is_a_function_of_the_seed(tmp_path):
    results = [trained(tmp_path / str(n), seed=n // 2)[1] for n in range(3)]
    first, again, other = (weights(result.objective) for result in results)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_trained_weights_are_kept(tmp_path):
    made, result = trained(tmp_path)
    network = made.build()
    load_model(tmp_path, network)
    kept = weights(network)
    assert all(torch.equal(value, kept[name]) for name, value in weights(result.objective).items())


def test_train_gets_the_folder_if_it_has_a_parameter_for_it(tmp_path):
    folders = []

    def train_in_a_folder(model, seed, device, folder):
        folders.append(folder)

    trained(tmp_path, train=train_in_a_folder)
    assert folders == [tmp_path]


def test_the_example_may_be_a_tuple_or_a_dictionary():
    class TwoInputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 2, 1)

        def forward(self, first, second):
            return self.layer(first - second)

    for example in ((IMAGES, IMAGES + 1), {"second": IMAGES + 1, "first": IMAGES}):
        made = task("w/o", place="layer", build=TwoInputs, example=example)
        output = made.build()(**made.example_batch())
        assert torch.equal(output, made.build().network(IMAGES, IMAGES + 1))
        assert made.cost(made.build())["multiply_adds"] == 2 * 4 * 5 * 3 * 2


class Listed(nn.Module):
    """A network that takes a list of images, as detectors do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return self.layer(torch.stack(images))


def test_lists_in_the_example_are_moved_to_the_device_of_the_network():
    made = task("w/o", build=Listed, example=([*IMAGES],), place="layer")
    assert made.cost(made.build().to("meta"))["multiply_adds"] == 2 * 4 * 5 * 3 * 2


def test_a_training_that_changes_no_weight_is_noted(tmp_path):
    assert trained(tmp_path, train=lambda *_: None)[1].notes == (UNCHANGED,)
    assert trained(tmp_path)[1].notes == ()


def change_weights(model, device):
    model[0].weight.data += 1
    return {"error": 0.5}


def update_running_means(model, device):
    model.train()(IMAGES)
    return {"error": 0.5}


@pytest.mark.parametrize(
    ("changing", "name"), [(change_weights, "0.weight"), (update_running_means, "3.running_mean")]
)
def test_an_evaluation_that_changes_the_network_is_noted(tmp_path, changing, name):
    def with_norm():
        return nn.Sequential(*build(), nn.BatchNorm2d(2))

    (note,) = trained(tmp_path, evaluate=changing, build=with_norm)[1].notes
    assert CHANGED in note
    assert name in note
    assert trained(tmp_path, build=with_norm)[1].notes == ()


def test_weights_that_are_not_finite_end_the_run(tmp_path):
    def spoil(model, seed, device):
        model[0].weight.data[0, 0] = float("nan")

    with pytest.raises(NonFiniteLoss):
        trained(tmp_path, train=spoil)


@pytest.mark.parametrize(
    "metrics",
    [0.5, torch.tensor(0.5), None, [("error", 1.0)], {"other": 1.0}, {}, {"error": torch.ones(2)},
     {"error": "high"}, {"error": None}, {"error": 10**400}],
)  # fmt: skip
def test_wrong_metrics_are_found_before_the_training(tmp_path, metrics):
    calls = []
    with pytest.raises(StudyError) as info:
        trained(tmp_path, evaluate=lambda *_: metrics, train=lambda *_: calls.append(1))
    assert info.value.field == "evaluate"
    assert calls == []


@pytest.mark.parametrize("value", [0.5, torch.tensor(0.5), torch.tensor([0.5]), "0.5", True])
def test_a_metric_may_be_anything_that_is_one_number(tmp_path, value):
    made, result = trained(tmp_path, evaluate=lambda *_: {"error": value})
    assert made.evaluate(result.objective, tmp_path).metrics == {"error": float(value)}


@pytest.mark.parametrize("network", [None, "resnet", lambda x: x])
def test_build_must_return_a_module(network):
    with pytest.raises(StudyError) as info:
        task(build=lambda: network).build()
    assert info.value.field == "build"


def test_build_must_return_a_new_network():
    network = build()
    made = task(build=lambda: network)
    made.build()
    with pytest.raises(StudyError) as info:
        made.build()
    assert info.value.field == "build"


@pytest.mark.parametrize("mixer", ["w/o", "1111"])
def test_lazy_modules_are_initialized_by_the_example(tmp_path, mixer):
    def lazy():
        return nn.Sequential(nn.LazyConv2d(4, 3, padding=1), nn.ReLU(), nn.LazyConv2d(2, 1))

    made, result = trained(tmp_path, build=lazy, mixer=mixer)
    other = weights(task("deformable", build=lazy).build())
    assert torch.equal(weights(made.build())["network.0.weight"], other["network.0.weight"])
    assert result.notes == ()


def on_meta():
    with torch.device("meta"):
        return build()


def sparse():
    network = nn.Sequential(nn.Linear(5, 5))
    network[0].weight = nn.Parameter(network[0].weight.detach().to_sparse())
    return network


class WithExtraState(nn.Sequential):
    def get_extra_state(self):
        return "scales"


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (on_meta, "0.weight has no values"),
        (sparse, "0.weight is sparse"),
        (WithExtraState, "_extra_state is a str"),
    ],
)
def test_build_must_return_dense_weights_with_values(network, name):
    with pytest.raises(StudyError, match=name) as info:
        task(build=network).build()
    assert info.value.field == "build"


@pytest.mark.parametrize("mixer", ["w/o", "1111"])
def test_a_place_without_a_module_is_named(mixer):
    with pytest.raises(InputError, match="7"):
        task(mixer, place="7").build()


@pytest.mark.parametrize("mixer", ["w/o", "1111"])
def test_an_example_that_the_network_refuses_costs_no_training(tmp_path, mixer):
    calls = []
    with pytest.raises(StudyError) as info:
        trained(tmp_path, mixer=mixer, example=IMAGES[:, :2], train=lambda *_: calls.append(1))
    assert info.value.field == "example"
    assert calls == []


def test_metrics_that_are_not_finite_are_refused_after_the_training_only(tmp_path):
    made, result = trained(tmp_path, evaluate=lambda *_: {"error": float("nan")})
    with pytest.raises(StudyError, match="nan as 'error'"):
        made.evaluate(result.objective, tmp_path)
