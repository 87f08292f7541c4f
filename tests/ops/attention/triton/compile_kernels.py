"""Compile the Triton kernels for GPUs that this machine need not have.

    python compile_kernels.py 80-bfloat16-32-168-1111 90-float32-64-84-0110

Attention is called as on a GPU, up to the start of its kernels: for a compute capability, a type, a
width of heads, a length of rows of keys, and terms. Each compiled kernel prints a line of JSON with
the resources that it needs. `test_compilation` runs this in a process without the interpreter.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import SimpleNamespace

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas

sys.path.insert(0, str(Path(__file__).parents[3]))

from laws import convert_operands, operands
from quatrain.ops.attention.triton import (
    attention_kernels,
    key_logits_kernels,
    position_bias_kernels,
)
from quatrain.ops.attention.triton.operator import triton_attention
from quatrain.ops.attention.triton.position_bias import (
    AttentionCall,
    position_bias,
    position_bias_backward,
)
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import AttentionInputs
from quatrain.specs import Term

POSITION_BIAS = (
    position_bias_kernels.position_bias_kernel,
    position_bias_kernels.position_query_grads_kernel,
    position_bias_kernels.encoding_grads_kernel,
)
KERNELS = (
    attention_kernels.attention_forward_kernel,
    attention_kernels.query_grads_kernel,
    attention_kernels.key_grads_kernel,
    *POSITION_BIAS,
    key_logits_kernels.key_logits_kernel,
    key_logits_kernels.key_logits_grads_kernel,
    key_logits_kernels.split_kernel,
)


def pretend_gpu(capability):
    """Make Triton compile for a GPU of this compute capability."""
    target = GPUTarget("cuda", capability, 32)
    driver = SimpleNamespace(
        get_current_device=lambda: capability,  # Triton caches compiled kernels by this number
        get_current_stream=lambda _: 0,
        get_current_target=lambda: target,
    )
    triton.runtime.driver.set_active(driver)


def spilled_bytes(compiled):
    """Bytes that the kernel writes to memory because they do not fit in registers."""
    capability = compiled.metadata.target.arch
    gpu = f"--gpu-name=sm_{capability}{'a' * (capability >= 90)}"
    with NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(compiled.asm["ptx"])
        file.flush()
        command = [get_ptxas(capability).path, "-v", gpu, file.name, "-o", "/dev/null"]
        report = subprocess.run(command, text=True, capture_output=True, check=True).stderr
    return int(re.search(r"(\d+) bytes spill stores", report)[1])


def compile_only(kernel, compiled):
    """From now on, a call of the kernel compiles it, appends it to `compiled`, and stops there."""
    run = kernel.run

    def compile_kernel(*arguments, warmup, **options):
        compiled.append(run(*arguments, warmup=True, **options))

    kernel.run = compile_kernel


def call_attention(dtype, width, row_length, terms):
    """Attention forward and backward: plain, with padding, and deterministic in a window.

    The position bias of a map of other sizes is called as well.
    """
    terms, grid = Term.parse(terms), Grid((24, 25), (16, row_length))
    other = Grid((16, 48), (16, 48))
    axial = not terms.use_query
    x, small = (
        convert_operands(
            operands(terms, sizes, widths=(width, width)), lambda x: x.to(getattr(torch, dtype))
        )
        for sizes in (grid, other)
    )
    padding = torch.zeros(2, 16 * row_length, dtype=torch.bool)
    for deterministic, support in (
        (False, Support()),
        (False, Support(key_padding_mask=padding)),
        (True, Support(window=3)),
    ):
        torch.use_deterministic_algorithms(deterministic)
        triton_attention(AttentionInputs(terms, x, grid, support), axial=axial).sum().backward()
    torch.use_deterministic_algorithms(False)
    call = AttentionCall(terms, small, other, axial=axial)
    bias = position_bias(call)
    position_bias_backward(call, bias.rows, bias.columns, bias.query)


if __name__ == "__main__":
    compiled, hashes = [], set()
    for kernel in KERNELS:
        compile_only(kernel, compiled)
    for configuration in sys.argv[1:]:
        capability, dtype, width, row_length, terms = configuration.split("-")
        pretend_gpu(int(capability))
        call_attention(dtype, int(width), int(row_length), terms)
        for kernel in compiled:
            line = {
                "name": kernel.name,
                "hash": kernel.hash,
                "shared": kernel.metadata.shared,
                "capability": kernel.metadata.target.arch,
            }
            is_position_bias = kernel.name in {each.__name__ for each in POSITION_BIAS}
            if is_position_bias and kernel.hash not in hashes:
                line["spilled"] = spilled_bytes(kernel)
            hashes.add(kernel.hash)
            print(json.dumps(line))
        compiled.clear()
