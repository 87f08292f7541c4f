"""`quatrain convert`: a checkpoint of mmdetection as a model of this library."""

from pathlib import Path
from typing import Annotated, Any

import typer

from quatrain.cli.output import open_console, print_json, print_line


def convert(
    source: Annotated[
        Path, typer.Argument(help="A checkpoint of mmdetection 2 or 3.", metavar="IN.pth")
    ],
    target: Annotated[
        Path, typer.Argument(help="The new file, or a folder for it.", metavar="OUT.safetensors")
    ],
    backbone: Annotated[
        bool, typer.Option("--backbone", help="Convert the ResNet alone, of any mmdetection.")
    ] = False,
    terms: Annotated[
        str | None, typer.Option(help='attention_type, such as "1111", if the file has none.')
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="num_heads of the attention, if the file has none.", min=1)
    ] = None,
    key_stride: Annotated[
        int | None, typer.Option(help="kv_stride of the attention, if the file has none.", min=1)
    ] = None,
    inexact: Annotated[
        bool, typer.Option("--inexact", help="Allow terms that mmcv computes differently.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Convert a detector of mmdetection to safetensors, with its spec in a .json next to it.

    No code of the checkpoint is executed. `Detector.from_pretrained("OUT.safetensors")` loads the
    result, or `ResNet.from_pretrained` with --backbone.

    Example: quatrain convert faster_rcnn_r50_attention_1111.pth r50_1111.safetensors --json
    """
    from quatrain.cost import count_parameters
    from quatrain.models.mmdetection import Options, convert_mmdet, convert_mmdet_backbone

    options = Options(terms, heads, key_stride, exact=not inexact)
    function = convert_mmdet_backbone if backbone else convert_mmdet
    module, notes = function(source, options)
    module.save_pretrained(target, notes=notes)
    result: dict[str, Any] = {
        "module": type(module).__name__,
        "parameters": count_parameters(module),
        "tensors": len(module.state_dict()),
        "spec": module.spec.model_dump(mode="json"),
        **notes,
    }
    if as_json:
        print_json(result)
        return
    console = open_console()
    counts = f"{result['tensors']} tensors, {result['parameters']:,} parameters"
    print_line(console, f"{target}: {result['module']}, {counts}.")
    print_line(console, f"Load it with {result['module']}.from_pretrained({str(target)!r}).")
