"""The flatbuffers of the small network between the steps of quantization, for tests of what edits them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """``reference``: float32. ``calibrated``: with min/max. ``int8``: by TensorFlow's quantizer. ``tensors``: what calibrated it."""

    reference: bytes
    calibrated: bytes
    int8: bytes
    tensors: list[NDArray[np.float32]]


@pytest.fixture(scope="session")
def steps(small_network: Any, digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """The small network converted, calibrated on 60 digits, and quantized."""
    import quantize
    from quantize import conversion

    source = quantize.load(small_network, name="small", preprocess="inception", labels=[str(digit) for digit in range(10)])
    photos = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=60, contract=source.contract)
    folder = tmp_path_factory.mktemp("saved-model")
    conversion.export_saved_model(source, folder)
    reference = conversion.convert_float(folder, "float32")
    tensors = [tensor for tensor in photos.tensors() if isinstance(tensor, np.ndarray)]
    calibrated = conversion.calibrate(reference, tensors)
    return Steps(reference=reference, calibrated=calibrated, int8=conversion.quantize_int8(calibrated), tensors=tensors)
