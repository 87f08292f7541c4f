import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("compile_kernels.py")
ASKED = [
    "80-bfloat16-32-168-1111",
    "80-float32-128-1-1111",
    "86-float16-128-84-1111",
    "86-bfloat16-64-168-1111",
    "86-float32-128-84-1111",
    "90-float32-32-84-0110",
    "90-bfloat16-32-84-0110",
    "90-bfloat16-32-168-0011",
    "90-bfloat16-64-168-1111",
    "100-bfloat16-32-168-1111",
]
SHARED = {80: 163 * 1024, 86: 99 * 1024, 90: 227 * 1024, 100: 227 * 1024}
"""Bytes of shared memory that a block may have, by compute capability: CUDA C++ Programming Guide,
technical specifications. On 8.9 and 12.x it is what it is on 8.6."""
SPILLED = 1024
"""Bytes of a thread that kernels of tables may have in memory instead of in registers."""
OF_TABLES = ("tabulate", "gradients_of_asks", "gradients_of_relative")


@pytest.mark.compile
@pytest.mark.parametrize("asked", ASKED)
def test_the_kernels_compile_as_they_are_called_for_gpus_and_fit_their_shared_memory(asked):
    pytest.importorskip("triton", reason="Triton is not installed")
    plain = {name: text for name, text in os.environ.items() if name != "TRITON_INTERPRET"}
    ran = subprocess.run(
        [sys.executable, SCRIPT, asked], env=plain, text=True, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    names = {each["name"] for each in found}
    assert names >= {"mix", "gradients_of_queries", "gradients_of_keys", *OF_TABLES}
    if asked.endswith("0011"):
        assert names >= {"weigh", "gradients_of_weighed", "split"}
    for name in OF_TABLES:  # they are not compiled anew for a map of other sizes
        assert len({each["hash"] for each in found if each["name"] == name}) == 1
    for each in found:
        assert asked.split("-")[0] == str(each["capability"])
        assert each["shared"] <= SHARED[each["capability"]], each
        assert each.get("spilled", 0) <= SPILLED, each
