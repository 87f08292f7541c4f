"""One process of two: a step of a model with mixers under DDP, and one under FSDP2, on CPUs.

python parallel.py RENDEZVOUS RANK
"""

import copy
import sys

import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import quatrain


def model_with_mixers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    images = torch.randn(4, 3, 6, 7)
    surgery = quatrain.insert(
        model, quatrain.parse_mixer("1111", heads=2), after="1", example=images[:1], seed=0
    )
    nn.init.ones_(surgery.wrappers["1"].block.gamma)
    return model, images


def main(rendezvous, rank):
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2
    )
    for kind in ("ddp", "fsdp"):
        try:
            step(kind, rank)
        except Exception as error:
            raise AssertionError(kind) from error
    distributed.destroy_process_group()


def step(kind, rank):
    model, images = model_with_mixers()
    whole = copy.deepcopy(model)
    whole(images).square().mean().backward()
    if kind == "ddp":
        parallel = DistributedDataParallel(model)
    else:
        scalars = {each for each in model.parameters() if each.ndim == 0}  # gamma
        mesh = distributed.init_device_mesh("cpu", (2,))
        parallel = fully_shard(model, mesh=mesh, ignored_params=scalars)
    y = parallel(images[rank::2])
    torch.testing.assert_close(y, whole(images[rank::2]))
    y.square().mean().backward()
    expected = dict(whole.named_parameters())
    for name, parameter in parallel.named_parameters():
        grad = parameter.grad
        if kind == "fsdp" and parameter.ndim == 0:
            distributed.all_reduce(grad.div_(2))
        grad = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
        torch.testing.assert_close(grad, expected[name.removeprefix("module.")].grad)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
