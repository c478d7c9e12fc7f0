"""How far the Edge TPU's rules were ever seen to hold: what lies beyond is still predicted, and said to be unsure.

Bytes are of the largest operand with which an op of that name is known to be mapped, in a public pair of a model and its compiled
form or in a public log. A compiler that runs out of room for activations stops at an op that its rules allow: of YOLOv8s at 640 pixels
13 of 257 ops map, up to a LOGISTIC (ultralytics/ultralytics#4719); of YOLOv10n at that size few do as well (#16074). Nobody has
published where that begins.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..op_list import Op

_MNV2 = "MobileNet v2 at 512 px, iwatake2222/EdgeTPU_Analysis"
_YOLO5 = "YOLOv5s at 512 px, google-coral/edgetpu#512"
_YOLO8 = "YOLOv8n at 224 px, edward62740/EdgeTPU-MOT"
_POSENET = "PoseNet 353x481, google-coral/test_data"
LARGEST: Mapping[str, tuple[int, str]] = {
    "ADD": (393_216, _MNV2),
    "AVERAGE_POOL_2D": (174_240, "DeepLab v3, google-coral/test_data"),
    "CONCATENATION": (1 << 20, _YOLO5),
    "CONV_2D": (6_291_456, _MNV2),
    "DEPTHWISE_CONV_2D": (6_340_704, _MNV2),
    "LOGISTIC": (2 << 20, _YOLO5),
    "MAX_POOL_2D": (65_536, _YOLO5),
    "MUL": (2 << 20, _YOLO5),
    "PAD": (6_340_704, _MNV2),
    "QUANTIZE": (509_379, _POSENET),
    "RESHAPE": (261_120, "YOLOv5s at 256 px, google-coral/edgetpu#512"),
    "RESIZE_BILINEAR": (524_288, "google-coral/edgetpu#31"),
    "RESIZE_NEAREST_NEIGHBOR": (524_288, _YOLO5),
    "SPLIT": (6_144, "YAMNet's [1, 96, 64], google-coral/coralmicro"),
    "STRIDED_SLICE": (100_352, _YOLO8),
    "SUB": (110_592, "MoveNet, google-coral/test_data"),
    "TRANSPOSE": (147_456, "YOLOv8n at 256 px, two public reports"),
}


def doubt(op: Op, *, proven: bool) -> str:
    """Return why it is not sure that ``op``, which the rules allow, is mapped; empty where its like is known to be."""
    if not proven:
        return f"no public compiled model has {op.name} version {op.version}"
    largest, where = LARGEST.get(op.name, (0, ""))
    size = max((operand.bytes for operand in (*op.activations, *op.outputs)), default=0)
    if largest and size > largest:
        return f"it handles {size / 1024:.0f} KiB, and the largest {op.name} known to map has {largest / 1024:.0f} KiB ({where})"
    return ""
