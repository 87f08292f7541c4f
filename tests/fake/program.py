"""The program `quatrain`, whose workers train without torch."""

import functools
import sys
from pathlib import Path

from quatrain.cli import cluster
from quatrain.cli.start import main
from quatrain.study import run_study

WORKER = (sys.executable, str(Path(__file__).with_name("worker.py")))

cluster.PROGRAM = (sys.executable, __file__)
cluster.run_study = functools.partial(run_study, command=WORKER)
main()
