"""A detection loop of torchvision's kind: a small Faster R-CNN finds a digit on a noisy canvas.

quatrain study run examples/detection_loop.py --out OUT
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import Conv2dNormActivation, box_iou

import quatrain

digits = torch.tensor(load_digits().images / 16).float().kron(torch.ones(1, 3, 3))


def scenes(numbers, seed, device):
    drawn, images, targets = torch.Generator().manual_seed(seed), [], []
    for digit in digits[numbers]:
        image = torch.rand(3, 64, 64, generator=drawn) / 2
        y, x = torch.randint(41, (2,), generator=drawn).tolist()
        image[:, y : y + 24, x : x + 24] += digit / 2
        box = torch.tensor([[x, y, x + 24.0, y + 24.0]], device=device)
        images.append(image.to(device))
        targets.append({"boxes": box, "labels": torch.tensor([1], device=device)})
    return images, targets


def build():
    body = nn.Sequential(*(Conv2dNormActivation(width, 32, 3, 2) for width in (3, 32, 32)))
    body.out_channels = 32
    return FasterRCNN(body, 2, 64, 64, rpn_anchor_generator=AnchorGenerator(((24,),), ((1.0,),)))


def train(network, seed, device):
    optimizer = torch.optim.AdamW(quatrain.param_groups(network, lr=1e-3))
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=20)
    for step in range(100):
        images, targets = scenes(torch.randint(1297, (4,)), 1000 * seed + step, device)
        losses = network.train()(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        warmup.step()


@torch.no_grad()
def evaluate(network, device):
    images, targets = scenes(range(1297, 1397), -1, device)
    pairs = zip(network.eval()(images), targets, strict=True)
    overlaps = [box_iou(y["boxes"][:1], target["boxes"]).sum() for y, target in pairs]
    return {"overlap": 100 * torch.stack(overlaps).mean()}  # of the best box, in percent


study = quatrain.ablate(
    build=build, train=train, evaluate=evaluate, after="backbone.2", metric="overlap", margin=2.0,
    example=(scenes([0], 0, "cpu")[0],), mixers=["w/o", "0010", "deformable"], heads=4,
)  # fmt: skip
