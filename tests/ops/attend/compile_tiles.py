"""Compile the kernels of `tiles` for GPUs that need not be here; one line of JSON for each.

    python compile_tiles.py 80-bf16-32-1111 90-fp32-64-0110

It is run by its test in a process of its own, in which Triton does not interpret.
"""

import json
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from quatrain.ops.attend import tile_kernels, tiles

CONTENT, LOGITS = {"asks", "key", "to_asks", "to_key"}, {"key_logits", "to_key_logits"}
OPERANDS = CONTENT | {"value", "mixed", "given", "to_value"}
KERNELS = (tile_kernels.mix, tile_kernels.gradients_of_queries, tile_kernels.gradients_of_keys)


def compiled(kernel, capability, dtype, width, terms):
    """The kernel for a GPU of that compute capability."""
    tiling = tiles.Tiling.of(84, width, width, half=dtype != "fp32")
    names = ("QUERIES", "KEYS", "WIDTH", "VALUE_WIDTH")
    constants = dict(zip(names, vars(tiling).values(), strict=True))
    absent = set() if terms[0] == "1" else CONTENT
    absent = absent | (set() if terms == "0110" else LOGITS)
    constants |= {name: None for name in kernel.arg_names if name in absent}
    types = {name: f"*{dtype}" if name in OPERANDS else "*fp32" for name in kernel.arg_names}
    types |= {"sizes": ("i32",) * 6} | dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=kernel, signature=types, constexprs=constants)
    options = {"num_warps": tiles.WARPS}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        capability, dtype, width, terms = asked.split("-")
        for kernel in KERNELS:
            made = compiled(kernel, int(capability), dtype, int(width), terms)
            shared, code = made.metadata.shared, len(made.asm["cubin"])
            print(json.dumps({"asked": asked, "shared": shared, "code": code}))
