"""`quatrain plan`: the method that computes an attention, its cost, and the reason."""

import enum
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from quatrain.cli.output import open_console, print_json
from quatrain.specs import SpecError
from quatrain.specs.errors import shorten

if TYPE_CHECKING:
    from quatrain.nn import AttentionSpec


class Device(enum.StrEnum):
    """Kinds of devices."""

    cpu = enum.auto()
    cuda = enum.auto()


def plan(
    terms: Annotated[
        str, typer.Option(help='The terms, such as "0110", also extended: "1111@31 rope".')
    ],
    queries: Annotated[str, typer.Option(help='Sizes of the queries: "50x84" or "512".')],
    keys: Annotated[str, typer.Option(help="Sizes of the keys; default: the queries.")] = "",
    causal: Annotated[bool, typer.Option("--causal", help="Attend to no later key.")] = False,
    window: Annotated[int | None, typer.Option(help="Odd width of a window, per axis.")] = None,
    key_padding_mask: Annotated[
        bool, typer.Option("--key-padding-mask", help="Plan for a mask of padded keys.")
    ] = False,
    attend_mask: Annotated[
        bool, typer.Option("--attend-mask", help="Plan for a mask of pairs that may attend.")
    ] = False,
    train: Annotated[bool, typer.Option("--train", help="Include the gradients.")] = False,
    channels: Annotated[int, typer.Option(help="Channels of all heads together.")] = 256,
    heads: Annotated[int, typer.Option(help="Heads.")] = 8,
    batch: Annotated[int, typer.Option(help="Batch size.")] = 1,
    device: Annotated[Device, typer.Option(help="The device.")] = Device.cpu,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the method that computes an attention, its multiply-adds, and the reason.

    Projections are not counted. Bytes are those of the attention weights in memory at one time, in
    float32: none if torch's kernel keeps them on the chip. The factored method stores sums over
    each row of keys instead, and the Triton kernels store the position bias.

    Example: quatrain plan --terms "0011 alibi" --queries 50x84 --keys 25x42 --json
    """
    from quatrain.cost import planned_cost
    from quatrain.ops.support import Structure

    cost = planned_cost(
        _attention(terms, heads, window),
        _sizes("queries", queries),
        _sizes("keys", keys) if keys else None,
        Structure(causal, window, key_padding_mask, attend_mask),
        channels=channels,
        batch=batch,
        training=train,
        device=device.value,
    )
    if as_json:
        print_json(asdict(cost))
        return
    by = f" (by {cost.kernel})" if cost.kernel else ""
    open_console().print(
        f"{cost.method}{by}: {cost.reason}.\n"
        f"{cost.multiply_adds / 1e9:.4g} G multiply-adds, "
        f"{cost.bytes / 2**20:.4g} MiB of {cost.holds}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _attention(terms: str, heads: int, window: int | None) -> "AttentionSpec":
    """The attention in the notation of mixers, with the heads and the window of the options."""
    from quatrain.nn import AttentionSpec, parse_mixer

    spec = parse_mixer(terms, heads)
    if not isinstance(spec, AttentionSpec):
        message = f'terms={shorten(terms)} is no attention; write terms such as "0110"'
        raise SpecError(message, "terms")
    if window is None or spec.window == window:
        return spec
    if spec.window is not None:
        message = f"window={window} differs from terms={shorten(terms)}; leave one of them out"
        raise SpecError(message, "window")
    return AttentionSpec(**{**dict(spec), "window": window})


def _sizes(option: str, text: str) -> tuple[int, ...]:
    if re.fullmatch(r"[1-9][0-9]{0,17}(x[1-9][0-9]{0,17})?", text) is None:
        message = f'{option}={shorten(text)} is no size above 0; write "50x84" or "512"'
        raise SpecError(message, option)
    return tuple(map(int, text.split("x")))
