import copy
import io

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from quatrain.insertion import insert, remove
from quatrain.insertion.model_mask import pass_padding_mask, remove_unused_hooks
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
OPTIONS = {"example": EXAMPLE, "key_padding_mask": "attention_mask"}


def masked_model():
    model = Model()
    surgery = insert(model, parse_mixer("1111", heads=2), after="layer", seed=0, **OPTIONS)
    nn.init.ones_(surgery.wrappers["layer"].block.gamma)
    return model, surgery


def assert_masked(model):
    y = model(IDS, attention_mask=REAL)
    other = model(torch.where(REAL == 1, IDS, IDS + 9), attention_mask=REAL)
    torch.testing.assert_close(y[REAL == 1], other[REAL == 1])
    assert not torch.allclose(y, model(IDS))


def hooks(model):
    return len(model._forward_pre_hooks) + len(model._forward_hooks)


def test_mask_is_read_from_each_call_by_name_or_position():
    model, _ = masked_model()
    assert_masked(model)
    torch.testing.assert_close(model(IDS, REAL), model(IDS, attention_mask=REAL))
    torch.testing.assert_close(model(IDS), model(IDS, torch.ones_like(REAL)))


def test_copied_and_saved_models_have_hooks_of_their_own():
    model, _ = masked_model()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert_masked(other)
        remove(other)
        assert hooks(other) == 0
    assert_masked(model)


def test_hooks_are_shared_and_removed_with_the_last_reader():
    model, surgery = masked_model()
    insert(model, parse_mixer("0010"), after="tokens", **OPTIONS)
    assert hooks(model) == 2
    remove(model, "tokens")
    assert hooks(model) == 2
    assert_masked(model)
    surgery.remove()
    assert hooks(model) == 0
    pass_padding_mask(model, "attention_mask")
    remove_unused_hooks(model)
    assert hooks(model) == 0


def assert_needs_mask(call):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.field == "attention_mask"
    assert "call the model" in str(caught.value)


def test_part_called_without_its_model_raises():
    model, _ = masked_model()
    x = torch.randn(2, 7, 16)
    assert_needs_mask(lambda: model.layer(x))
    model.fails = True
    with pytest.raises(ZeroDivisionError):
        model(IDS, REAL)
    assert_needs_mask(lambda: model.layer(x))


def test_recomputation_without_the_mask_raises():
    model, _ = masked_model()
    model.checkpoints = True
    y = model(IDS, REAL)
    assert_needs_mask(lambda: y.sum().backward())


def test_data_parallel_replicas_read_the_mask_of_their_own_call():
    model, _ = masked_model()
    replica = copy.copy(model)  # as nn.DataParallel does: other modules, the same hooks
    replica._modules = dict(model._modules, layer=copy.copy(model.layer))
    replica(IDS, REAL)
    assert_needs_mask(lambda: replica.layer(torch.randn(2, 7, 16)))
    assert_masked(nn.DataParallel(model))


@pytest.mark.compile
def test_compiled_and_exported_models_read_the_mask():
    torch.compiler.reset()
    model, _ = masked_model()
    expected = model(IDS, REAL)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(IDS, REAL), expected)
    other = REAL.flip(1)
    torch.testing.assert_close(compiled(IDS, other), model(IDS, other))
    exported = torch.export.export(model, (IDS, REAL)).module()
    torch.testing.assert_close(exported(IDS, other), model(IDS, other))
