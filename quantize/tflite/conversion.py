"""The only module that calls TensorFlow's converter, calibrator and quantizer.

One trace and one calibration serve all variants: the float32 flatbuffer is converted once, calibrated once, and both integer
variants are made from the calibrated flatbuffer. ``mlir_quantize`` and ``CalibrationWrapper`` are private to TensorFlow
(`quantize.tf_private`); ``TFLiteConverter`` itself runs exactly these steps for every variant anew, and a test
holds the results equal to what it gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.runtime.model import Feed

from .. import tf_private
from ..errors import ConversionError
from ..quiet import import_tensorflow, quiet
from . import converter_process, repairs
from .recipe import quantize_by_recipe

if TYPE_CHECKING:
    from ..loading.source import Source

_LSTM = b"effective_hidden_scale_intermediate"  # a tensor that only an int8 LSTM has
IO_TYPES = ("int8", "uint8", "float32")


def export_saved_model(source: Source, directory: Path) -> None:
    """Trace ``source`` with batch 1 and write it as a SavedModel whose signature has the contract's output names."""
    tf = import_tensorflow()
    module = tf.Module()
    with quiet():
        function = source.concrete_function()
        module.trackables = source.trackables
        tf.saved_model.save(module, str(directory), signatures=function)


def convert_float(saved_model: Path, variant: str, *, per_channel_dense: bool = True) -> bytes:
    """Convert a SavedModel to a ``float32``, ``float16`` or ``dynamic`` flatbuffer with TFLite's built-in ops only.

    ``per_channel_dense=False`` gives fully connected layers one scale per tensor, which older runtimes need.
    Raises ConversionError naming the ops that TFLite does not have.
    """
    settings = {"saved_model": str(saved_model), "variant": variant, "per_channel_dense": per_channel_dense}
    return converter_process.run(_convert_float, settings)


def _convert_float(*, saved_model: str, variant: str, per_channel_dense: bool) -> bytes:
    tf = import_tensorflow()
    with quiet() as captured:
        try:
            converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
            converter.exclude_conversion_metadata = True  # it hashes the model with a per-run salt and names no fact we need
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            if variant != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if variant == "float16":
                converter.target_spec.supported_types = [tf.float16]
            tf_private.per_channel_dense(converter, per_channel_dense)
            flatbuffer = converter.convert()
        except Exception as error:  # the converter raises many types; each means the same to the user
            raise ConversionError(_conversion_message(str(error) + captured.text())) from error
    return repairs.negations_as_products(bytes(flatbuffer)) if variant == "float32" else bytes(flatbuffer)


def calibrate(flatbuffer: bytes, tensors: Iterable[Feed]) -> bytes:
    """Return ``flatbuffer`` (float32) with the minimum and maximum that each tensor takes over ``tensors``.

    tensors: float32 arrays ``(1, height, width, channels)``, preprocessed, or a tuple with one array for each input; consumed
    once, one at a time. Raises ConversionError, also where a kernel of the calibrator ends its process.
    """
    return converter_process.calibrate(_calibrate, flatbuffer, tensors)


def _calibrate(flatbuffer: bytes, tensors: Iterable[Feed]) -> bytes:
    import_tensorflow()
    with quiet():
        calibrator = tf_private.get("Calibrator")(tf_private.get("add_intermediate_tensors")(flatbuffer))
        return bytes(calibrator.calibrate(lambda: (list(t) if isinstance(t, tuple) else [t] for t in tensors)))


def quantize_int8(calibrated: bytes, *, io: str = "int8", per_channel: bool = True, in_float: Iterable[str] = ()) -> bytes:
    """Full-integer int8 flatbuffer from a calibrated one. ``io`` is the type of input and outputs.

    in_float: names of tensors whose ops stay in float, with conversions around them: then the file is not full-integer.
    """
    return converter_process.run(_quantize_int8, {"io": io, "per_channel": per_channel, "in_float": list(in_float)}, [calibrated])


def _quantize_int8(calibrated: bytes, *, io: str, per_channel: bool, in_float: list[str]) -> bytes:
    tf = import_tensorflow()
    io_type = {"int8": tf.int8, "uint8": tf.uint8, "float32": tf.float32}[io]
    with quiet() as captured:
        try:
            quantized = tf_private.get("mlir_quantize")(
                calibrated,
                disable_per_channel=not per_channel,
                input_data_type=io_type,
                output_data_type=io_type,
                denylisted_nodes=set(in_float) or None,
            )
            finished = bytes(tf_private.get("deduplicate_readonly_buffers")(quantized))
        except Exception as error:  # as above
            raise ConversionError(_conversion_message(str(error) + captured.text())) from error
    return repairs.scales_of_lstms(finished) if _LSTM in finished else finished


def quantize_int16x8(calibrated: bytes) -> bytes:
    """int16 activations, int8 weights, int64 biases, float32 input and outputs, from a calibrated flatbuffer."""
    return converter_process.run(_quantize_int16x8, {}, [calibrated])


def _quantize_int16x8(calibrated: bytes) -> bytes:
    import_tensorflow()
    number = {name: np.dtype(name).num for name in ("float32", "int16", "int64")}
    with quiet() as captured:
        try:
            wrapper = tf_private.quantize_wrapper(calibrated)
            # Fed with nothing, the wrapper keeps the ranges that the flatbuffer already carries.
            quantized = wrapper.QuantizeModel(
                number["float32"], number["float32"], False, number["int16"], number["int64"], False, False
            )
            return bytes(tf_private.get("deduplicate_readonly_buffers")(quantized))
        except Exception as error:  # as above
            raise ConversionError(_conversion_message(str(error) + captured.text())) from error


def _conversion_message(text: str) -> str:
    """One line from the converter's pages of MLIR: the ops it could not place, or its first error."""
    for label in ("Flex ops", "Custom ops"):
        found = re.search(rf"{label}: ([\w, ]+)", text)
        if found:
            ops = ", ".join(sorted({name.strip() for name in found.group(1).split(",") if name.strip()}))
            return (
                f"the network needs {ops}, which TFLite has no built-in op for (a board's interpreter cannot run it);"
                " rewrite that layer with ordinary ones, or cut the model before it"
            )
    errors = [line.strip() for line in text.splitlines() if "error:" in line.lower()] or text.strip().splitlines()[:1]
    return f"TensorFlow's converter refused the network: {errors[0][:300] if errors else 'no reason given'}"


def serve() -> None:
    """Take the steps above in this process, one request after the other. Runs in the other process only."""
    converter_process.serve(_convert_float, _calibrate, _quantize_int8, _quantize_int16x8, quantize_by_recipe)
