import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("compile_kernels.py")
CONFIGURATIONS = [
    "90-bfloat16-32-84-0110",
    "80-bfloat16-32-168-1111",
    "80-float32-128-1-1111",
    "86-float16-128-84-1111",
    "86-bfloat16-64-168-1111",
    "86-float32-128-84-1111",
    "90-float32-32-84-0110",
    "90-bfloat16-32-168-0011",
    "90-bfloat16-64-168-1111",
    "100-bfloat16-32-168-1111",
]
SHARED = {80: 163 * 1024, 86: 99 * 1024, 90: 227 * 1024, 100: 227 * 1024}
"""Bytes of shared memory that a block may have, by compute capability: CUDA C++ Programming Guide,
technical specifications. On 8.9 and 12.x it is what it is on 8.6."""
SPILLED = 1024
"""Bytes per thread that kernels of position bias may spill from registers to memory."""
POSITION_BIAS = (
    "position_bias_kernel",
    "position_query_grads_kernel",
    "encoding_grads_kernel",
)


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_kernels_compile_for_gpus_and_fit_their_shared_memory(configuration):
    pytest.importorskip("triton", reason="Triton is not installed")
    environment = {name: text for name, text in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run(
        [sys.executable, SCRIPT, configuration],
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    kernels = [json.loads(line) for line in result.stdout.splitlines()]
    names = {kernel["name"] for kernel in kernels}
    assert names >= {
        "attention_forward_kernel",
        "query_grads_kernel",
        "key_grads_kernel",
        *POSITION_BIAS,
    }
    if configuration.endswith("0011"):
        assert names >= {"key_logits_kernel", "key_logits_grads_kernel", "split_kernel"}
    for name in POSITION_BIAS:  # not recompiled for a map of other sizes
        assert len({kernel["hash"] for kernel in kernels if kernel["name"] == name}) == 1
    for kernel in kernels:
        assert configuration.split("-")[0] == str(kernel["capability"])
        assert kernel["shared"] <= SHARED[kernel["capability"]], kernel
        assert kernel.get("spilled", 0) <= SPILLED, kernel
