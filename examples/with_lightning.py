"""Lightning: the network inside a LightningModule, trained by lightning.Trainer.

    quatrain study run examples/with_lightning.py --out OUT

The network classifies the digits of scikit-learn. Needs `pip install "quatrain[all,examples]"`.
"""

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import quatrain

pixels, classes = load_digits(return_X_y=True)
images = torch.tensor(pixels / 16).float().view(-1, 1, 8, 8)
training = TensorDataset(images[:1297], torch.tensor(classes[:1297]))


class Classifier(lightning.LightningModule):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def training_step(self, batch, index):
        x, y = batch
        return nn.functional.cross_entropy(self.network(x), y)

    def configure_optimizers(self):
        return torch.optim.AdamW(quatrain.param_groups(self.network, lr=3e-3))


def build():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def train(network, seed, device):
    trainer = lightning.Trainer(
        accelerator=device.type, devices=[device.index] if device.index else 1, max_epochs=12,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    trainer.fit(Classifier(network.train()), DataLoader(training, batch_size=64, shuffle=True))


@torch.no_grad()
def evaluate(network, device):
    predicted = network.eval()(images[1297:].to(device)).argmax(1).cpu().numpy()
    return {"accuracy": 100 * (predicted == classes[1297:]).mean()}


study = quatrain.ablate(
    build=build, train=train, evaluate=evaluate, after="3", example=images[:1], heads=4,
    mixers=["w/o", "0010", "0110", "1111"], metric="accuracy", margin=1.0,
)  # fmt: skip
