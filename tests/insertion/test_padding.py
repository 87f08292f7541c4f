import copy
import io

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from quatrain.insertion import insert, remove
from quatrain.insertion.padding import pass_padding_mask, remove_unused_hooks
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import InputError


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.layer = nn.Embedding(40, 16), nn.Linear(16, 16)
        self.fails, self.checkpoints = False, False

    def forward(self, ids, attention_mask=None):
        hidden = self.tokens(ids)
        if self.fails:
            raise ZeroDivisionError
        if self.checkpoints:
            return checkpoint(self.layer, hidden, use_reentrant=False)
        return self.layer(hidden) if attention_mask is None else self.layer(hidden) * 1


IDS = torch.arange(14).view(2, 7)
REAL = (torch.arange(7) < torch.tensor([[7], [4]])).long()
EXAMPLE = {"ids": IDS, "attention_mask": REAL}


def padded():
    model = Model()
    mixer = parse_mixer("1111", heads=2)
    change = insert(
        model, mixer, after="layer", example=EXAMPLE, key_padding_mask="attention_mask", seed=0
    )
    nn.init.ones_(change.wrappers["layer"].block.gamma)
    return model, change


def assert_masked(model):
    given = model(IDS, attention_mask=REAL)
    other = model(torch.where(REAL == 1, IDS, IDS + 9), attention_mask=REAL)
    torch.testing.assert_close(given[REAL == 1], other[REAL == 1])
    assert not torch.allclose(given, model(IDS))


def hooks(model):
    return len(model._forward_pre_hooks) + len(model._forward_hooks)


def test_the_mask_is_that_of_each_call_by_name_or_by_position():
    model, _ = padded()
    assert_masked(model)
    torch.testing.assert_close(model(IDS, REAL), model(IDS, attention_mask=REAL))
    torch.testing.assert_close(model(IDS), model(IDS, torch.ones_like(REAL)))


def test_copies_and_saved_models_have_masks_of_their_own():
    model, _ = padded()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert_masked(other)
        remove(other)
        assert hooks(other) == 0
    assert_masked(model)


def test_the_hooks_are_one_pair_and_go_with_the_last_place_that_reads_them():
    model, change = padded()
    mixer = parse_mixer("0010")
    name = "attention_mask"
    insert(model, mixer, after="tokens", example=EXAMPLE, key_padding_mask=name)
    assert hooks(model) == 2
    remove(model, "tokens")
    assert hooks(model) == 2
    assert_masked(model)
    change.remove()
    assert hooks(model) == 0
    pass_padding_mask(model, "attention_mask")
    remove_unused_hooks(model)
    assert hooks(model) == 0


def test_a_part_that_is_called_without_its_model_is_refused():
    model, _ = padded()
    x = torch.randn(2, 7, 16)
    with pytest.raises(InputError, match=r"attention_mask is None, expected the mask of a call"):
        model.layer(x)
    model.fails = True
    with pytest.raises(ZeroDivisionError):
        model(IDS, REAL)
    with pytest.raises(InputError, match="call that model"):
        model.layer(x)


def test_a_recomputation_without_the_mask_is_refused():
    model, _ = padded()
    model.checkpoints = True
    y = model(IDS, REAL)
    with pytest.raises(InputError, match="recomputation in the backward pass"):
        y.sum().backward()


def test_data_parallel_replicas_read_the_mask_of_their_own_call():
    model, _ = padded()
    replica = copy.copy(model)  # as nn.DataParallel makes them: other modules, the same hooks
    replica._modules = dict(model._modules, layer=copy.copy(model.layer))
    replica(IDS, REAL)
    with pytest.raises(InputError, match="attention_mask is None"):
        replica.layer(torch.randn(2, 7, 16))
    assert_masked(nn.DataParallel(model))


@pytest.mark.compile
def test_a_compiled_model_and_an_exported_one_read_the_mask():
    torch.compiler.reset()
    model, _ = padded()
    expected = model(IDS, REAL)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(IDS, REAL), expected)
    other = REAL.flip(1)
    torch.testing.assert_close(compiled(IDS, other), model(IDS, other))
    exported = torch.export.export(model, (IDS, REAL)).module()
    torch.testing.assert_close(exported(IDS, other), model(IDS, other))
