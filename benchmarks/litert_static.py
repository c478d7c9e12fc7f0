"""Static int8 by litert-quantizer, in an environment of its own: ``litert_static.py FLOAT.tflite TENSORS.npz OUT.tflite [--per-tensor]``.

TENSORS.npz: by the name of the input float32 ``(count, 1, ...)``, preprocessed. Prints seconds and peak memory as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import quantizer, recipe


def main() -> int:
    float_file, tensors_file, out, *options = sys.argv[1:]
    with np.load(tensors_file, allow_pickle=False) as kept:
        inputs = dict(kept)
    started = time.monotonic()
    key = next(iter(Interpreter(model_path=float_file).get_signature_list()))
    images = len(next(iter(inputs.values())))
    chosen = recipe.static_wi8_ai8()
    if "--per-tensor" in options:
        for rule in chosen:
            rule["op_config"]["weight_tensor_config"]["granularity"] = "TENSORWISE"
    work = quantizer.Quantizer(float_file, chosen)
    statistics = work.calibrate({key: [{name: values[i] for name, values in inputs.items()} for i in range(images)]})
    work.quantize(statistics).export_model(out, overwrite=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"wall_s": round(time.monotonic() - started, 1), "peak_memory_mib": round(peak)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
