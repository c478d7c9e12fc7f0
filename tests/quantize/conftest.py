"""The flatbuffers of the small network between the steps of quantization, for tests of what edits them."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import Once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """``reference``: float32. ``calibrated``: with min/max. ``int8``: by TensorFlow's quantizer. ``tensors``: what calibrated it."""

    reference: bytes
    calibrated: bytes
    int8: bytes
    tensors: list[NDArray[np.float32]]


@pytest.fixture(scope="session")
def steps(small_network: Any, digits_folder: Path, once: Once) -> Steps:
    """The small network converted, calibrated on 60 digits, and quantized."""

    def make(folder: Path) -> None:
        import quantize
        from quantize.tflite import conversion

        source = quantize.load(small_network, name="small", preprocess="inception", labels=[str(digit) for digit in range(10)])
        photos = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=60, contract=source.contract)
        conversion.export_saved_model(source, folder / "saved-model")
        reference = conversion.convert_float(folder / "saved-model", "float32")
        tensors = [tensor for tensor in photos.tensors() if isinstance(tensor, np.ndarray)]
        calibrated = conversion.calibrate(reference, tensors)
        made = Steps(reference=reference, calibrated=calibrated, int8=conversion.quantize_int8(calibrated), tensors=tensors)
        (folder / "steps").write_bytes(pickle.dumps(made))

    found: Steps = pickle.loads((once("steps", make) / "steps").read_bytes())
    return found


@pytest.fixture(scope="session")
def louder() -> Callable[[bytes, float], bytes]:
    """Return a float network with the weights and biases of its last dense layer multiplied: as sure of everything as one likes."""
    from edge.artefact import graph
    from quantize.tflite import edit as flatbuffer_edit

    def multiplied(flatbuffer: bytes, factor: float) -> bytes:
        schema, parsed = flatbuffer_edit.classes(), graph.read(flatbuffer)
        model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
        last = next(op for op in reversed(parsed.ops) if op.name == "FULLY_CONNECTED")
        for index in last.inputs[1:3]:
            tensor = model.subgraphs[0].tensors[index]
            values = np.array(model.buffers[tensor.buffer].data, np.uint8).view(np.float32) * np.float32(factor)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = values.view(np.uint8)
            tensor.buffer = len(model.buffers) - 1
        return bytes(flatbuffer_edit.pack(schema, model))

    return multiplied


@pytest.fixture(scope="session")
def small_file(small_network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.keras"
    small_network.save(path)
    return path


@pytest.fixture(scope="session")
def third(digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third of the test digits, for validating quickly."""
    folder = tmp_path_factory.mktemp("third")
    for image in sorted((digits_folder / "test").glob("*/*.png"))[::3]:
        (folder / image.parent.name).mkdir(exist_ok=True)
        shutil.copy(image, folder / image.parent.name)
    return folder


@pytest.fixture(scope="session")
def finished(small_file: Path, digits_folder: Path, third: Path, once: Once) -> Any:
    """A run of quantization-aware training on the small network, with its float control."""

    def run(folder: Path) -> None:
        import quantize
        from quantize.qat.api import QatConfig, quantization_aware

        source = quantize.load(small_file, name="small", preprocess="inception", labels=[str(digit) for digit in range(10)])
        config = QatConfig(epochs=2, learning_rate=1e-4, batch_size=32, representative=40, float_control=True)
        result = quantization_aware(source, digits_folder / "train", third, config, out=folder / "run")
        (folder / "result").write_bytes(pickle.dumps(result))

    return pickle.loads((once("finished", run) / "result").read_bytes())
