"""Train the tiny task: FOLDER, its arguments as JSON, batches before it is killed (0: never).

Each process leaves its weights in weights-RANK.json.
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
folder, fields, fatal = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
seen = 0


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def count(plan):
    """Die when the batch after the `fatal`-th is made."""
    global seen
    seen += 1
    if seen == fatal + 1:
        die()


if fields.pop("die_saving", False):
    real = os.fsync

    def fsync(number):
        """The second checkpoint is cut short and never renamed."""
        global seen
        seen += 1
        if seen == 2:
            os.ftruncate(number, 100)
            die()
        real(number)

    os.fsync = fsync
    fatal = 0

trouble = count if fatal else None
result = train(TinyTask(**fields, trouble=trouble), folder, seed=7)
rank = os.environ.get("RANK", "0")
weights = {name: value.tolist() for name, value in result.objective.state_dict().items()}
(folder / f"weights-{rank}.json").write_text(json.dumps(weights))
if distributed.is_initialized():
    distributed.destroy_process_group()
