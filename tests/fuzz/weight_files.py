"""Readers of weights: .pth and .safetensors files, folders of `save_pretrained`, mmdetection."""

import hashlib
import io
import json
from collections import OrderedDict
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save, save_file
from torch import nn

from fuzz.case import Case, Reader
from fuzz.formats import mutate_archive, mutate_pickle, mutate_safetensors
from fuzz.mutators import Examples, choose, mutate_bytes, mutate_json
from quatrain.models.mmdetection_config import class_names, config_text, read_settings
from quatrain.models.pretrained import load_pretrained
from quatrain.models.translator import Translator, TranslatorSpec
from quatrain.nn import GeneralizedAttention
from quatrain.weights import read_torch_file

_TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1, 2])}
_CONFIG = """model = dict(
    type='FasterRCNN', backbone=dict(type='ResNet', depth=50, style='pytorch',
        plugins=[dict(cfg=dict(type='GeneralizedAttention', spatial_range=-1, num_heads=8,
            attention_type='0010', kv_stride=2), position='after_conv2')],
        dcn=dict(type='DCN', deform_groups=1)),
    rpn_head=dict(anchor_generator=dict(scales=[8], ratios=[0.5, 1.0, 2.0]),
        bbox_coder=dict(target_means=[0., 0., 0., 0.], target_stds=[1., 1., 1., 1.])))
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
"""


def _saved(content: object, *, zipped: bool) -> bytes:
    output = io.BytesIO()
    torch.save(content, output, _use_new_zipfile_serialization=zipped)
    return output.getvalue()


def _torch_file(folder: Path) -> Case:
    path = folder / "a.pth"
    whole = {
        "state_dict": OrderedDict(_TENSORS),
        "meta": {"epoch": 12, "CLASSES": ("cat", "dog"), "config": _CONFIG},
        "optimizer": {"state": {0: {"step": 5}}},
    }
    contents = (whole, _TENSORS)
    examples = [_saved(content, zipped=zipped) for content in contents for zipped in (True, False)]

    def read() -> None:
        file = read_torch_file(path)
        assert all(tensor.sum().item() is not None for tensor in file.tensors.values())
        class_names(file.meta)
        read_settings(config_text(file.meta), str(path))

    return Case(path, tuple(examples), read)


def _mutate_legacy(random: Random, examples: Examples) -> bytes:
    """Change the pickles of the format before torch 1.6, which follow each other."""
    return mutate_pickle(random, random.choice([x for x in examples if not x.startswith(b"PK")]))


def _pretrained(folder: Path) -> Case:
    """Weights of a ResNet in a file, whose SHA-256 the study names."""
    path = folder / "a.pth"
    tensors = {"weight": torch.ones(2, 3), "bias": torch.zeros(2), "fc.bias": torch.zeros(4)}
    examples = tuple(_saved(tensors, zipped=zipped) for zipped in (True, False))

    def read() -> None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        load_pretrained(nn.Linear(3, 2), 18, digest, str(path))

    return Case(path, examples, read)


def _pretrained_tensors(folder: Path) -> Case:
    path = folder / "a.safetensors"
    tensors = {"weight": torch.ones(2, 3), "bias": torch.zeros(2), "fc.bias": torch.zeros(4)}

    def read() -> None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        load_pretrained(nn.Linear(3, 2), 18, digest, str(path))
        read_torch_file(path)

    return Case(path, (save(tensors),), read)


def _saved_module(folder: Path) -> GeneralizedAttention:
    module = GeneralizedAttention(8, terms="1111", heads=2)
    module.save_pretrained(folder, notes={"classes": ["cat", "dog"]})
    return module


def _sidecar(folder: Path) -> Case:
    """The spec of a model, whose tensors do not name the file that belongs to them."""
    model = TranslatorSpec(width=8, layers=1, feed_forward=8).build(20)
    model.save_pretrained(folder)
    save_file(model.state_dict(), folder / "model.safetensors")
    path = folder / "model.json"
    return Case(path, (path.read_bytes(),), lambda: Translator.from_pretrained(folder))


def _folder_tensors(folder: Path) -> Case:
    _saved_module(folder)
    path = folder / "model.safetensors"
    load = GeneralizedAttention.from_pretrained
    return Case(path, (path.read_bytes(),), lambda: load(folder))


def _settings(folder: Path) -> Case:
    """The configuration in a checkpoint of mmdetection, with the other values next to it."""
    path = folder / "meta.json"
    examples = [
        {"config": _CONFIG, "CLASSES": ["cat", "dog"], "epoch": 12},
        {"cfg": _CONFIG, "dataset_meta": {"classes": ["cat"], "palette": [[0, 0, 0]]}},
    ]

    def read() -> None:
        text = path.read_bytes().decode(errors="replace")
        try:
            meta = json.loads(text)
        except (ValueError, RecursionError):
            meta = {"config": text}
        meta = meta if isinstance(meta, dict) else {"config": text}
        class_names(meta)
        read_settings(config_text(meta), "a.pth")

    return Case(path, tuple(json.dumps(each).encode() for each in examples), read)


_MUTATE = choose((4, mutate_archive), (2, mutate_bytes), (3, _mutate_legacy))

WEIGHT_FILES = {
    "torch file": Reader(_torch_file, _MUTATE),
    "pretrained": Reader(_pretrained, _MUTATE),
    "pretrained tensors": Reader(
        _pretrained_tensors, choose((4, mutate_safetensors), (1, mutate_bytes))
    ),
    "sidecar": Reader(_sidecar, choose((6, mutate_json), (1, mutate_bytes))),
    "folder tensors": Reader(_folder_tensors, choose((4, mutate_safetensors), (1, mutate_bytes))),
    "mmdetection settings": Reader(_settings, choose((1, mutate_json), (3, mutate_bytes))),
}
