"""Write mmdet_detector.json and .safetensors: names, shapes and outputs of mmdetection's detector.

Run with mmdet, mmcv (or mmcv-lite, with torchvision's operators in place of mmcv.ops) and mmengine:
python make_mmdet_detector.py. The tests read the files and need none of them.
"""

import json
from pathlib import Path

import mmcv
import mmdet
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmdet_weights import image, weights
from mmengine.config import Config
from safetensors.torch import save_file

FOLDER = Path(mmdet.__file__).parent / ".mim" / "configs" / "empirical_attention"
TINY = {
    "backbone": {"base_channels": 8, "stem_channels": 64},
    "neck": {"in_channels": [32, 64, 128, 256], "out_channels": 16},
    "rpn_head": {"in_channels": 16, "feat_channels": 16},
}
SIZE = (150, 203)


def build(name: str, *, tiny: bool) -> torch.nn.Module:
    """The network of a published configuration, or a narrow one of three classes."""
    model = Config.fromfile(FOLDER / f"faster-rcnn_r50-{name}_fpn_1x_coco.py").model
    model.backbone.init_cfg = None
    if tiny:
        for part, changes in TINY.items():
            model[part].update(changes)
        head = model.roi_head
        head.bbox_roi_extractor.out_channels = 16
        head.bbox_head.update(in_channels=16, fc_out_channels=32, num_classes=3)
    return MODELS.build(model).eval()


def outputs(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Coarse maps and detections of one image."""
    for name, value in network.state_dict().items():
        value.copy_(torch.from_numpy(weights(name, tuple(value.shape))))
    bgr = torch.from_numpy(image(*SIZE))[[2, 1, 0]]
    sample = DetDataSample(
        metainfo={"img_shape": SIZE, "ori_shape": SIZE, "scale_factor": (1.0, 1.0)}
    )
    data = network.data_preprocessor({"inputs": [bgr], "data_samples": [sample]}, False)
    maps = network.extract_feat(data["inputs"])
    [result] = network.predict(data["inputs"], data["data_samples"], rescale=False)
    found = result.pred_instances
    detections = {"boxes": found.bboxes, "scores": found.scores, "labels": found.labels}
    return {"pool": maps[4], "conv5": maps[3], **detections}


def main() -> None:
    """Compute names and shapes of the largest network, and outputs of two narrow ones."""
    register_all_modules(init_default_scope=True)
    shapes = {}
    for tiny in (False, True):
        state = build("attn1111-dcn", tiny=tiny).state_dict()
        for name, value in state.items():
            shapes.setdefault(name, []).append(list(value.shape))
    rows = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in shapes.items()]
    Path("mmdet_detector.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")
    tensors = {}
    for name in ("attn1111-dcn", "attn0010"):
        with torch.no_grad():
            found = outputs(build(name, tiny=True))
        tensors |= {f"{name}/{key}": value.contiguous() for key, value in found.items()}
    source = {"mmdet": mmdet.__version__, "mmcv": mmcv.__version__, "torch": torch.__version__}
    save_file(tensors, "mmdet_detector.safetensors", {"source": json.dumps(source)})


if __name__ == "__main__":
    main()
