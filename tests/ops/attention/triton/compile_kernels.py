"""Call attention by tiles as on a GPU that need not be here, up to where its kernels would start.

    python compile_kernels.py 80-bfloat16-32-168-1111 90-float32-64-84-0110

The kernels are compiled by their real calls: for a compute capability, a type, a width of heads, a
length of rows of keys, and terms. A line of JSON for each tells what it needs. Its test runs it in
a process in which Triton does not interpret.
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

sys.path.insert(0, str(Path(__file__).parents[2]))

from laws import operands
from quatrain.ops.attention.triton import attention_kernels as tile_kernels
from quatrain.ops.attention.triton import key_bias_kernels as key_kernels
from quatrain.ops.attention.triton import operator as tiles
from quatrain.ops.attention.triton import position_bias as tables
from quatrain.ops.attention.triton import position_bias_kernels as table_kernels
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import Term

KERNELS = (
    tile_kernels.mix,
    tile_kernels.gradients_of_queries,
    tile_kernels.gradients_of_keys,
    table_kernels.tabulate,
    table_kernels.gradients_of_asks,
    table_kernels.gradients_of_relative,
    key_kernels.weigh,
    key_kernels.gradients_of_weighed,
    key_kernels.split,
)


OF_TABLES = ("tabulate", "gradients_of_asks", "gradients_of_relative")


def pretend(capability):
    """A GPU of that compute capability is in place, which can do nothing but compile."""
    target = GPUTarget("cuda", capability, 32)
    driver = SimpleNamespace(
        get_current_device=lambda: capability,  # Triton keeps what it compiled by this number
        get_current_stream=lambda _: 0,
        get_current_target=lambda: target,
    )
    triton.runtime.driver.set_active(driver)


def spilled(made):
    """Bytes that the kernel writes to memory because registers do not hold them."""
    named = f"--gpu-name=sm_{made.metadata.target.arch}{'a' * (made.metadata.target.arch >= 90)}"
    with NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(made.asm["ptx"])
        file.flush()
        compiler = get_ptxas(made.metadata.target.arch).path
        asked = [compiler, "-v", named, file.name, "-o", "/dev/null"]
        told = subprocess.run(asked, text=True, capture_output=True, check=True).stderr
    return int(re.search(r"(\d+) bytes spill stores", told)[1])


def only_compile(kernel, made):
    """From now on, a call of the kernel compiles it, keeps it in `made`, and starts nothing."""
    run = kernel.run

    def compiled(*arguments, warmup, **named):
        made.append(run(*arguments, warmup=True, **named))

    kernel.run = compiled


def call(dtype, width, along, terms):
    """Attention forward and backward; with padding; in a window, as gradients that repeat ask for.

    Of numbers that nothing will write. The tables of a map of other sizes are made as well.
    """
    terms, grid, other = Term.parse(terms), Grid((24, 25), (16, along)), Grid((16, 48), (16, 48))
    by_lines = not terms.use_query

    def one(x):
        if isinstance(x, tuple):
            return tuple(map(one, x))
        return x.to(getattr(torch, dtype)) if isinstance(x, torch.Tensor) else x

    lower, small = (
        Operands(**{name: one(x) for name, x in vars(made).items()})
        for made in (operands(terms, each, widths=(width, width)) for each in (grid, other))
    )
    padding = torch.zeros(2, 16 * along, dtype=torch.bool)
    for ordered, support in (
        (False, Support()),
        (False, Support(key_padding_mask=padding)),
        (True, Support(window=3)),
    ):
        torch.use_deterministic_algorithms(ordered)
        tiles.triton_attention(terms, lower, grid, support, axial=by_lines).sum().backward()
    torch.use_deterministic_algorithms(False)
    asked = tables.Call(terms, small, other, axial=by_lines)
    found = tables.tables_of(asked)
    tables.gradients_of_tables(asked, found.rows, found.columns, found.asks)


if __name__ == "__main__":
    made, seen = [], set()
    for kernel in KERNELS:
        only_compile(kernel, made)
    for asked in sys.argv[1:]:
        capability, dtype, width, along, terms = asked.split("-")
        pretend(int(capability))
        call(dtype, int(width), int(along), terms)
        for one in made:
            found = {"shared": one.metadata.shared, "capability": one.metadata.target.arch}
            if one.name in OF_TABLES and one.hash not in seen:
                found["spilled"] = spilled(one)
            seen.add(one.hash)
            print(json.dumps({"name": one.name, "hash": one.hash, **found}))
        made.clear()
