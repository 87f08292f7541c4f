import pytest
import torch
from torch import nn
from torch.testing import assert_close

from laws import unchecked
from quatrain.cost import count_multiply_adds
from quatrain.nn import DeformableAttention, MultiScaleDeformableAttention
from quatrain.specs import InputError

SIZES = [(5, 7), (3, 4), (1, 2)]


def built(ndim=2, **fields):
    torch.manual_seed(0)
    fields = {"levels": 3, "heads": 2, "points": 2} | fields
    module = MultiScaleDeformableAttention(8, ndim=ndim, dtype=torch.float64, **fields)
    for parameter in (*module.offset.parameters(), *module.weights.parameters()):
        nn.init.normal_(parameter, std=0.5)
    return module


def inputs(levels=3, channels=8, queries=6):
    torch.manual_seed(1)
    query = torch.randn(2, queries, 8, dtype=torch.float64)
    reference = torch.rand(2, queries, levels, 2, dtype=torch.float64)
    maps = [torch.randn(2, channels, *size, dtype=torch.float64) for size in SIZES]
    return query, reference, maps


def flip_axes(layer):
    """The parameters of a layer of offsets with x before y."""
    return {
        name: parameter.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
        for name, parameter in layer.named_parameters()
    }


@pytest.fixture(scope="module")
def of_transformers():
    """The module of transformers with 3 levels, 2 heads and 2 points, and its weights in ours."""
    detr = pytest.importorskip("transformers.models.deformable_detr.modeling_deformable_detr")
    config = detr.DeformableDetrConfig(d_model=8, num_feature_levels=3, disable_custom_kernels=True)
    module = detr.DeformableDetrMultiscaleDeformableAttention(config, num_heads=2, n_points=2)
    return module.double()


def test_it_equals_the_module_of_transformers(of_transformers):
    ours = built()
    of_transformers.sampling_offsets.load_state_dict(flip_axes(ours.offset))
    of_transformers.attention_weights.load_state_dict(ours.weights.state_dict())
    of_transformers.value_proj.load_state_dict(ours.value.state_dict())
    of_transformers.output_proj.load_state_dict(ours.output.state_dict())
    query, reference, maps = inputs()
    masks = [torch.zeros(2, height * width, dtype=torch.bool) for height, width in SIZES]
    masks[0][1, 20:] = True
    sizes = torch.tensor(SIZES)
    expected, _ = of_transformers(
        query,
        attention_mask=~torch.cat(masks, 1),
        encoder_hidden_states=torch.cat([x.flatten(2).transpose(1, 2) for x in maps], 1),
        reference_points=reference.flip(-1),
        spatial_shapes=sizes,
        spatial_shapes_list=SIZES,
        level_start_index=sizes.prod(1).cumsum(0) - sizes.prod(1),
    )
    assert_close(ours(query, reference, maps, key_padding_masks=masks), expected)


def test_one_level_read_at_its_own_positions_is_deformable_attention():
    mixer = DeformableAttention(8, heads=2, points=2, dtype=torch.float64)
    nn.init.normal_(mixer.offset.weight)
    nn.init.normal_(mixer.weights.weight)
    module = built(levels=1)
    module.load_state_dict(mixer.state_dict())
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    rows, columns = ((torch.arange(size).double() + 0.5) / size for size in (3, 5))
    centers = torch.cartesian_prod(rows, columns).expand(2, -1, -1)
    y = module(x.flatten(2).transpose(1, 2), centers[:, :, None], [x])
    assert_close(y.transpose(1, 2).view_as(x), mixer(x))


@pytest.mark.parametrize("ndim", [1, 2])
def test_it_has_gradients_and_both_methods_agree(ndim):
    module = built(ndim, key_channels=6)
    query, reference, maps = inputs(channels=6)
    if ndim == 1:
        reference, maps = reference[..., :1], [x.flatten(2).transpose(1, 2) for x in maps]
    outputs = []
    for module.method in ("blockwise", "reference"):
        outputs.append(module(query, reference, maps))
    assert_close(*outputs)
    outputs[0].square().sum().backward()
    assert all(parameter.grad.any() for parameter in module.parameters())
    one = module(query, reference[:, :, :1], maps)
    assert_close(one, module(query, reference[:, :, :1].expand(-1, -1, 3, -1), maps))


def test_it_is_saved_and_loaded(tmp_path):
    module = built(key_channels=6)
    module.save_pretrained(tmp_path)
    loaded = MultiScaleDeformableAttention.from_pretrained(tmp_path)
    arguments = inputs(channels=6)
    assert torch.equal(loaded(*arguments), module(*arguments))


def test_its_projections_and_sums_are_counted():
    module, (query, reference, maps) = built(), inputs()
    positions = sum(height * width for height, width in SIZES)
    linears = 2 * 6 * 8 * (8 + 3 * 12) + 2 * positions * 8 * 8
    sums = 2 * 6 * 12 * 4  # queries, samples of all heads, channels of a head
    counted = count_multiply_adds(module, query, reference, maps)
    assert (counted, counted.by_convention) == (linears + sums, None)
    module.method = "reference"
    assert count_multiply_adds(module, query, reference, maps) == linears


@pytest.mark.compile
def test_it_compiles_into_one_graph():
    torch.compiler.reset()
    module, arguments = built(), inputs()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    outputs = [each(*arguments) for each in (compiled, module)]
    gradients = [torch.autograd.grad(y.sum(), list(module.parameters())) for y in outputs]
    assert_close(*outputs)
    assert_close(*gradients)


@pytest.mark.compile
def test_an_exported_program_takes_other_batches_queries_and_maps():
    module, dynamic = built().eval(), torch.export.Dim.DYNAMIC
    query, reference, _ = inputs()
    maps = [torch.randn(2, 8, *size, dtype=torch.float64) for size in ((5, 7), (3, 4), (2, 6))]
    by_query, by_map = {0: dynamic, 1: dynamic}, {0: dynamic, 2: dynamic, 3: dynamic}
    sizes = (by_query, by_query, (by_map,) * 3)
    exported = torch.export.export(module, (query, reference, tuple(maps)), dynamic_shapes=sizes)
    query, reference, _ = inputs(queries=9)
    others = query[:1], reference[:1], tuple(x[:1].mT for x in maps)
    assert_close(exported.module()(*others), module(*others))


@unchecked()
@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda query, reference, maps: (query[..., :4], reference, maps), "query"),
        (lambda query, reference, maps: (query, reference[:, :, :2], maps), "reference_points"),
        (lambda query, reference, maps: (query, reference, maps[:2]), "maps"),
        (lambda query, reference, maps: (query, reference, [x[:1] for x in maps]), "maps"),
        (lambda query, reference, maps: (query, reference, [*maps[:2], maps[2][..., :0]]), "maps"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(change, field):
    with pytest.raises(InputError) as caught:
        built()(*change(*inputs()))
    assert caught.value.field == field


@unchecked()
@pytest.mark.parametrize(
    "masks", [[None], [None, None, torch.zeros(2, 2)], [torch.zeros(2, 3, dtype=torch.bool)] * 3]
)
def test_masks_that_do_not_fit_are_refused(masks):
    with pytest.raises(InputError) as caught:
        built()(*inputs(), key_padding_masks=masks)
    assert caught.value.field in ("key_padding_masks", "key_padding_mask")
