"""Hugging Face's Trainer: a mixer after each layer of BERT, which leaves padding out.

    quatrain study run examples/with_transformers.py --out OUT

Sequences of 4 to 12 digits; the class is whether the largest comes before the smallest digit.
Needs `pip install "quatrain[all,examples]"`.
"""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import quatrain


def sequences(count, seed):
    drawn = torch.Generator().manual_seed(seed)
    ids = torch.rand(count, 12, generator=drawn).argsort(1) + 1
    real = torch.arange(12) < torch.randint(4, 13, (count, 1), generator=drawn)
    largest, smallest = (ids * real).argmax(1), (ids * real + 99 * ~real).argmin(1)
    fields = {"input_ids": ids * real, "attention_mask": real.long()}
    return fields | {"labels": (largest < smallest).long()}


training, testing = sequences(4000, seed=0), sequences(1000, seed=1)
SIZES = {"vocab_size": 13, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}


def build():
    return BertForSequenceClassification(BertConfig(num_hidden_layers=1, **SIZES))


def train(network, seed, device):
    rows = [{name: field[row] for name, field in training.items()} for row in range(4000)]
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, max_steps=200, per_device_train_batch_size=64, learning_rate=2e-3, seed=seed,
            use_cpu=device.type == "cpu", disable_tqdm=True, save_strategy="no", report_to="none",
            logging_strategy="no", dataloader_pin_memory=False,
        )  # fmt: skip
        Trainer(network, settings, train_dataset=rows).train()


@torch.no_grad()
def evaluate(network, device):
    inputs = {name: field.to(device) for name, field in testing.items()}
    right = network.eval()(**inputs).logits.argmax(1) == inputs["labels"]
    return {"accuracy": 100 * right.double().mean()}


study = quatrain.ablate(
    build=build, train=train, evaluate=evaluate, heads=4, metric="accuracy", margin=1.0,
    after="bert.encoder.layer.*", insertion={"key_padding_mask": "attention_mask"},
    example={name: testing[name][:3] for name in ("input_ids", "attention_mask")},
    mixers=["w/o", "0010", "0110", "1111"],
)  # fmt: skip
