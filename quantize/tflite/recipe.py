"""litert-quantizer's static recipe, given the ranges that a flatbuffer carries. The only module that calls litert-quantizer."""

from __future__ import annotations

import numpy as np

from ..errors import ConversionError
from ..quiet import quiet
from . import calibrated as ranges_in
from . import edit

LITERT = "litert-quantizer"


def quantize_by_recipe(calibrated: bytes, *, per_channel: bool) -> bytes:
    """Quantize in this process, by the static recipe, with the ranges that the flatbuffer carries. For the other process."""
    from litert_quantizer import quantizer, recipe

    rules = recipe.static_wi8_ai8()
    if not per_channel:
        for rule in rules:
            rule["op_config"]["weight_tensor_config"]["granularity"] = "TENSORWISE"
    limits = {
        name: {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}
        for name, (low, high) in ranges_in.read_ranges(calibrated).items()
    }
    with quiet() as captured:
        try:
            made = quantizer.Quantizer(bytearray(calibrated), rules).quantize(
                limits, enable_progress_bar=False, enable_progress_report=False
            )
        except Exception as error:  # it raises many types; each means the same to the user
            said = " ".join((str(error) or captured.text()).split())[:300]
            raise ConversionError(
                f"{LITERT} refused the network: {said or type(error).__name__}; leave --quantizer out"
            ) from error
    return _inside(bytes(made.quantized_model))


def _inside(made: bytes) -> bytes:
    """Return a file with its constants inside the flatbuffer: of more than 256 KiB litert-quantizer puts them behind it, at offsets."""
    schema = edit.classes()
    model = schema.ModelT.InitFromPackedBuf(made, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 say that there is nothing behind
            buffer.data = np.frombuffer(made, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return edit.pack(schema, model)
