"""Train the tiny task: FOLDER, its arguments as JSON, batches before it is killed (0: never).

Each process writes its weights to weights-RANK.json.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import distributed

from conftest import TinyTask  # isort: skip - the file beside this script

from quatrain.training import train

torch.set_num_threads(1)
folder, fields, batches = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
count = 0


def kill():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def kill_after_batches(plan):
    global count
    count += 1
    if count == batches + 1:
        kill()


if fields.pop("kill_in_save", False):
    fsync = os.fsync

    def kill_in_second_call(number):
        """Cut the second checkpoint short, before it is renamed."""
        global count
        fsync(number)
        count += 1
        if count == 2:
            os.ftruncate(number, 100)
            kill()

    os.fsync = kill_in_second_call

on_batch = kill_after_batches if batches else None
result = train(TinyTask(**fields, on_batch=on_batch), folder, seed=7)
rank = os.environ.get("RANK", "0")
weights = {name: value.tolist() for name, value in result.objective.state_dict().items()}
(folder / f"weights-{rank}.json").write_text(json.dumps(weights))
if distributed.is_initialized():
    distributed.destroy_process_group()
