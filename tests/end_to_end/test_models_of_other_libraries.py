"""Mixers in models of torchvision, timm and transformers, built without downloads.

docs/models.md lists the same models and places.
"""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import quatrain

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
IDS = torch.arange(2, 16).view(2, 7)
REAL = (torch.arange(7) < torch.tensor([[7], [4]])).long()
TEXT = {"input_ids": IDS, "attention_mask": REAL}


def torchvision_model(name):
    from torchvision import models
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    from torchvision.models.regnet import BlockParams, RegNet
    from torchvision.models.resnet import BasicBlock, ResNet

    widths = {"depth": 4, "w_0": 16, "w_a": 8.0, "w_m": 2.0, "group_width": 8}
    head = {"weights": None, "weights_backbone": None, "num_classes": 3}
    sizes = {"min_size": 64, "max_size": 64}
    create = {
        "ResNet": lambda: ResNet(BasicBlock, [1, 1, 1, 1]),
        "RegNet": lambda: RegNet(BlockParams.from_init_params(**widths)),
        "ConvNeXt": lambda: ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 2)]),
        "Swin": lambda: models.SwinTransformer([4, 4], 16, [1, 2], [2, 4], [4, 4]),
        "ViT": lambda: models.VisionTransformer(64, 16, 2, 2, 32, 64),
        "Faster R-CNN": lambda: models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
            **head, **sizes
        ),
        "DeepLabV3": lambda: models.segmentation.deeplabv3_mobilenet_v3_large(**head),
    }
    return create[name]()


def timm_model(name, **options):
    import timm

    return timm.create_model(name, pretrained=False, **options)


def transformers_model(name):
    import transformers as t

    text = {"vocab_size": 40, "num_heads": 2, "d_model": 16, "d_kv": 8, "d_ff": 16}
    bert = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    maps = {"hidden_sizes": [8, 8, 24, 32], "depths": [1, 1, 1, 1]}
    heads = {"num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16}
    create = {
        "BERT": lambda: t.BertModel(t.BertConfig(vocab_size=40, num_hidden_layers=2, **bert)),
        "T5": lambda: t.T5EncoderModel(t.T5Config(num_layers=2, **text)),
        "SegFormer": lambda: t.SegformerForSemanticSegmentation(t.SegformerConfig(**maps, **heads)),
        "ResNet": lambda: t.ResNetModel(
            t.ResNetConfig(embedding_size=8, layer_type="basic", **maps)
        ),
    }
    return create[name]()


INSERTED = [
    ("torchvision", "ResNet", 'before="layer3.*.conv2"'),
    ("torchvision", "RegNet", 'after="trunk_output.block2.*"'),
    ("torchvision", "ConvNeXt", 'after="features.3.*"'),
    ("torchvision", "Swin", 'after="features.3.*"'),
    ("torchvision", "ViT", 'after="encoder.layers.*"'),
    ("torchvision", "Faster R-CNN", 'before="backbone.fpn.layer_blocks.0"'),
    ("torchvision", "DeepLabV3", 'after="backbone.6"'),
    ("timm", "regnety_002", 'after="s2.*"'),
    ("timm", "convnext_atto", 'after="stages.2.blocks.*"'),
    ("timm", "vit_tiny_patch16_224", 'after="blocks.*"'),
    ("timm", "pvt_v2_b0", 'after="stages.2.blocks.*"'),
    ("timm", "efficientnet_b0", 'after="blocks.3.*"'),
    ("timm", "poolformer_s12", 'after="stages.2.blocks.*"'),
    ("transformers", "BERT", 'after="encoder.layer.*", key_padding_mask="attention_mask"'),
    ("transformers", "T5", 'after="encoder.block.*.layer.1", key_padding_mask="attention_mask"'),
    ("transformers", "SegFormer", 'after="segformer.stages.2.blocks.*"'),
    ("transformers", "ResNet", 'after="encoder.stages.2.layers.*"'),
]
"""Library, model and arguments of `insert`."""
REPLACED = [
    (
        "transformers",
        "BERT",
        'at="encoder.layer.*.attention.self", key_padding_mask="attention_mask"',
    ),
    (
        "transformers",
        "T5",
        'at="encoder.block.*.layer.0.SelfAttention", key_padding_mask="attention_mask", '
        'ignore=["position_bias"]',
    ),
    (
        "transformers",
        "SegFormer",
        'at="segformer.stages.*.blocks.*.attention", ignore=["output_hidden_states"]',
    ),
    ("timm", "vit_tiny_patch16_224", 'at="blocks.*.attn"'),
    ("timm", "pvt_v2_b0", 'at="stages.*.blocks.*.attn", layout="channels_last"'),
]
"""Library, model and arguments of `replace`."""


def parameter(case):
    """A case of a test; an import of timm or transformers takes seconds, and may warn."""
    library, name, _ = case
    marks = [] if library == "torchvision" else [pytest.mark.slow]
    return pytest.param(*case, id=f"{library} {name}", marks=marks)


def create(library, name):
    """The model in evaluation mode, without layers of zeros, and its example."""
    if library != "torchvision":
        pytest.importorskip(library, reason=f"{library} is not installed")
    torch.manual_seed(0)
    options = {"img_size": 64} if name == "vit_tiny_patch16_224" else {}
    build = {
        "torchvision": torchvision_model,
        "timm": partial(timm_model, **options),
        "transformers": transformers_model,
    }[library]
    model = build(name).eval()
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and not layer.weight.any():
            nn.init.normal_(layer.weight)
    example = {"BERT": TEXT, "T5": TEXT, "Faster R-CNN": ([*IMAGES],)}.get(name, IMAGES)
    return model, example


def tensors(value):
    """All tensors of an output, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if hasattr(value, "values") else value
    return [each for part in parts for each in tensors(part)]


def outputs(model, example):
    if isinstance(example, dict):
        return tensors(model(**example))
    return tensors(model(*example) if isinstance(example, tuple) else model(example))


def total(values):
    return sum(value.square().sum() for value in values if value.is_floating_point())


def equal(some, others):
    pairs = zip(some, others, strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def arguments(text):
    """The keywords of a call, as docs/models.md writes them."""
    return eval(f"dict({text})")


@pytest.mark.parametrize(("library", "name", "text"), [parameter(case) for case in INSERTED])
def test_insertion_keeps_outputs_trains_the_mixer_and_is_removed(library, name, text):
    model, example = create(library, name)
    modules, expected = dict(model.named_modules()), outputs(model, example)
    mixer = quatrain.parse_mixer("1111", heads=2)
    surgery = quatrain.insert(model, mixer, example=example, **arguments(text))
    current = outputs(model, example)
    assert equal(current, expected)
    total(current).backward()
    gammas = [wrapper.block.gamma for wrapper in surgery.wrappers.values()]
    assert all(gamma.grad != 0 for gamma in gammas)
    for gamma in gammas:
        nn.init.ones_(gamma)
    total(outputs(model, example)).backward()
    weights = [wrapper.block.mixer.value.weight for wrapper in surgery.wrappers.values()]
    assert all(weight.grad.any() for weight in weights)
    surgery.remove()
    restored = dict(model.named_modules())
    assert restored.keys() == modules.keys()
    assert all(restored[path] is module for path, module in modules.items())
    assert equal(outputs(model, example), expected)


@pytest.mark.parametrize(("library", "name", "text"), [parameter(case) for case in REPLACED])
def test_self_attention_is_replaced_with_its_masks(library, name, text):
    model, example = create(library, name)
    expected = outputs(model, example)
    mixer = quatrain.parse_mixer("1111", heads=2)
    surgery = quatrain.replace(model, mixer, example=example, **arguments(text))
    on_maps = name in {"SegFormer", "pvt_v2_b0"}
    assert {each.block.ndim for each in surgery.wrappers.values()} == {2 if on_maps else 1}
    current = outputs(model, example)
    assert [value.shape for value in current] == [value.shape for value in expected]
    total(current).backward()
    weights = [wrapper.block.value.weight for wrapper in surgery.wrappers.values()]
    assert all(weight.grad.any() for weight in weights)
    if "attention_mask" in text:
        others = outputs(model, TEXT | {"input_ids": torch.where(REAL == 1, IDS, IDS + 9)})
        torch.testing.assert_close(others[0][REAL == 1], current[0][REAL == 1])
    surgery.remove()
    assert equal(outputs(model, example), expected)


def test_the_docs_list_these_models():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    rows = re.findall(r"^\| (\w+) \| ([^|]+) \| `(\w+=[^`]+)` \|$", page, re.MULTILINE)
    assert rows == [*INSERTED, *REPLACED]
