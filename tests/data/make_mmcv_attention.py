"""Write mmcv_attention.safetensors: inputs, weights and outputs of mmcv's GeneralizedAttention.

Run with mmcv installed: python make_mmcv_attention.py. The tests read the file and need no mmcv.
"""

import json

import mmcv
import torch
from mmcv.cnn.bricks.generalized_attention import GeneralizedAttention
from safetensors.torch import save_file

CHANNELS, HEADS = 16, 4
WRONG = {"0100", "0110", "1100", "1110"}
"""Term sets that mmcv computes from a transposed query."""


def main() -> None:
    """Compute every other term set with key stride 2, and all four terms with strides 1 and 3."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    block = GeneralizedAttention(CHANNELS, num_heads=HEADS)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    weights = block.state_dict()
    x = torch.randn(1, CHANNELS, 5, 8)
    tensors = {f"weights/{name}": value for name, value in weights.items()} | {"input": x}
    terms = [f"{bits:04b}" for bits in range(16)]
    cases = [(each, 2) for each in terms if each not in WRONG] + [("1111", 1), ("1111", 3)]
    for each, stride in cases:
        block = GeneralizedAttention(
            CHANNELS, num_heads=HEADS, kv_stride=stride, attention_type=each
        )
        own = block.state_dict().keys()
        block.load_state_dict({name: weights[name] for name in own})
        with torch.no_grad():
            tensors[f"output/{each}/{stride}"] = block(x)
    source = {"mmcv": mmcv.__version__, "torch": torch.__version__, "heads": str(HEADS)}
    save_file(tensors, "mmcv_attention.safetensors", {"source": json.dumps(source)})


if __name__ == "__main__":
    main()
