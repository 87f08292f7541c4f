"""`quatrain plan`: which method computes an attention, what that costs, and why."""

import enum
import re
from dataclasses import asdict
from typing import Annotated

import typer

from quatrain.cli.output import open_console, print_json
from quatrain.specs import SpecError, Term


class Device(enum.StrEnum):
    """Kinds of machine that methods are planned for."""

    cpu = enum.auto()
    cuda = enum.auto()


_LONGEST = 40
"""Characters that a sentence repeats of sizes that are none."""


def plan(
    terms: Annotated[str, typer.Option(help='The terms that are on, as in "0110".')],
    queries: Annotated[str, typer.Option(help='Sizes of the queries: "50x84" or "512".')],
    keys: Annotated[str, typer.Option(help="Sizes of the keys; default: the queries.")] = "",
    causal: Annotated[bool, typer.Option("--causal", help="Attend to no later key.")] = False,
    window: Annotated[int | None, typer.Option(help="Odd width of a window, per axis.")] = None,
    key_padding_mask: Annotated[
        bool, typer.Option("--key-padding-mask", help="With a mask of padded keys.")
    ] = False,
    attend_mask: Annotated[
        bool, typer.Option("--attend-mask", help="With a mask of the pairs that may attend.")
    ] = False,
    train: Annotated[bool, typer.Option("--train", help="Count the gradients too.")] = False,
    channels: Annotated[int, typer.Option(help="Channels of all heads together.")] = 256,
    heads: Annotated[int, typer.Option(help="Heads.")] = 8,
    batch: Annotated[int, typer.Option(help="Batch size.")] = 1,
    device: Annotated[Device, typer.Option(help="Where it is to run.")] = Device.cpu,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell which method computes an attention, its multiply-adds, and why it was chosen.

    Projections are not counted. Bytes are those of the attention weights that are held at once,
    in float32: none where torch's kernel holds them on the chip. Factored holds sums over each
    row of keys in their place, and tiles of a GPU the position tables that they read.

    Example: quatrain plan --terms 0011 --queries 50x84 --keys 25x42 --json
    """
    from quatrain.cost import planned_cost
    from quatrain.ops.support import Structure

    found = planned_cost(
        Term.parse(terms),
        _sizes("queries", queries),
        _sizes("keys", keys) if keys else None,
        Structure(causal, window, key_padding_mask, attend_mask),
        channels=channels,
        heads=heads,
        batch=batch,
        training=train,
        device=device.value,
    )
    if as_json:
        print_json(asdict(found))
        return
    by = f" (by {found.kernel})" if found.kernel else ""
    open_console().print(
        f"{found.method}{by}: {found.reason}.\n"
        f"{found.multiply_adds / 1e9:.4g} G multiply-adds, "
        f"{found.bytes / 2**20:.4g} MiB of {found.holds}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _sizes(option: str, text: str) -> tuple[int, ...]:
    if re.fullmatch(r"[1-9][0-9]{0,17}(x[1-9][0-9]{0,17})?", text) is None:
        shown = text if len(text) < _LONGEST else f"{text[:_LONGEST]}..."
        raise SpecError(option, shown, "one or two sizes above 0", 'write "50x84", or "512"')
    return tuple(map(int, text.split("x")))
