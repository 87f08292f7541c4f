"""A plain PyTorch loop: epochs over a DataLoader, a learning-rate schedule, clipped gradients.

    quatrain study run examples/plain_loop.py --out OUT

The network classifies the digits of scikit-learn, images of 8 x 8 pixels.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import quatrain

EPOCHS, TRAINING = 12, 1297

pixels, classes = load_digits(return_X_y=True)
images = torch.tensor(pixels / 16).float().view(-1, 1, 8, 8)
digits = TensorDataset(images, torch.tensor(classes))
training = torch.utils.data.Subset(digits, range(TRAINING))
testing = torch.utils.data.Subset(digits, range(TRAINING, len(digits)))


def build():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def train(network, seed, device):
    batches = DataLoader(training, batch_size=64, shuffle=True)
    optimizer = torch.optim.AdamW(quatrain.param_groups(network, lr=3e-3, weight_decay=0.01))
    steps = EPOCHS * len(batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    for _ in range(EPOCHS):
        for x, y in batches:
            loss = nn.functional.cross_entropy(network(x.to(device)), y.to(device))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()


@torch.no_grad()
def evaluate(network, device):
    network.eval()
    batches = DataLoader(testing, batch_size=256)
    right = sum((network(x.to(device)).argmax(1).cpu() == y).sum() for x, y in batches)
    return {"accuracy": 100 * right / len(testing)}


study = quatrain.ablate(
    build=build, train=train, evaluate=evaluate, after="5", example=images[:1], heads=4,
    mixers=["w/o", "0010", "0110", "1111"], metric="accuracy", margin=1.0,
)  # fmt: skip
