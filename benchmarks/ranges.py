"""Full int8 by every range method, by the plain converter and by ai-edge-quantizer, on the network as it is and made hard.

    python benchmarks/ranges.py flowers.keras --images train/ --test test/ --preprocess inception [--aeq-python env/bin/python]

Rows: the network as it is; per-tensor weights; 4 calibration images; 5 % of them replaced by noise and over-exposed ones; the channels
of one layer rescaled to heavy tails (the function stays the same). Every file is run over the test photos and paired with the float32
file. Prints a table for each row and appends it to ``benchmarks/results/ranges.json``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import append

import quantize
from edge import graph
from edge.interpreter import open_interpreter
from quantize import activations, auto_ranges, conversion, flatbuffer_edit, refine
from quantize.paired import Photos, compare

HERE = Path(__file__).parent
METHODS = ("converter", "minmax", "mean", "blend-0.05", "blend-0.2", "moving-average", "percentile", "mse", "kl", "auto")
ROWS = ("as it is", "per-tensor weights", "4 images", "5 % odd images", "heavy tails")


def main() -> int:
    """Make, run and compare all files of the rows asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--preprocess", default="inception")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--limit", type=int, help="so many of the test photos")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--aeq-python", type=Path)
    args = parser.parse_args()
    source = quantize.load(args.model, name="model", preprocess=args.preprocess)
    photos = quantize.RepresentativeDataset.from_folder(args.images, count=args.count, contract=source.contract)
    test = Photos.open(args.test, source.contract, limit=args.limit)
    with tempfile.TemporaryDirectory() as folder:
        conversion.export_saved_model(source, Path(folder))
        reference = conversion.convert_float(Path(folder), "float32")
    expected = activations.run(reference, test.tensors)
    tensors = list(photos.tensors())
    table: dict[str, Any] = {}
    for row in args.rows.split(","):
        table[row] = _row(row, reference, tensors, args.aeq_python, lambda made: _measure(made, expected, test, source.contract))
        print(_text(row, table[row]), flush=True)
    append("ranges", {"images": args.count, "test_images": len(test), "rows": table})
    return 0


Measure = Callable[[bytes], dict[str, Any]]


def _row(row: str, reference: bytes, tensors: list[Any], aeq_python: Path | None, measure: Measure) -> dict[str, Any]:
    per_channel = row != "per-tensor weights"
    if row == "4 images":
        tensors = tensors[:: max(1, len(tensors) // 4)][:4]
    if row == "5 % odd images":
        tensors = _with_odd_ones(tensors)
    if row == "heavy tails":
        reference = _heavy_tailed(reference)
    calibrated = conversion.calibrate(reference, tensors)
    results = {}
    for method in METHODS:
        started = time.monotonic()
        choice = auto_ranges.choose_ranges(reference, calibrated, lambda: tensors, method=method, per_channel=per_channel)
        made = conversion.quantize_int8(choice.calibrated, per_channel=per_channel)
        if method == "auto":
            made = refine.refine(made, reference, lambda: tensors).flatbuffer
        results[method] = {"seconds": round(time.monotonic() - started, 1), **measure(made)}
    if aeq_python is not None and per_channel:
        results["ai-edge-quantizer"] = _aeq(aeq_python, reference, tensors, measure)
    return results


def _heavy_tailed(reference: bytes) -> bytes:
    """The same function: the channels of one convolution with ReLU up to 30 times larger, what reads them as much smaller."""
    schema = flatbuffer_edit._schema()
    parsed, model = graph.read(reference), schema.ModelT.InitFromPackedBuf(reference, 0)
    readers: dict[int, list[graph.Op]] = {}
    for op in parsed.ops:
        for index in op.inputs:
            readers.setdefault(index, []).append(op)
    pairs = [
        (op, readers[op.outputs[0]][0])
        for op in parsed.ops
        if op.name == "CONV_2D" and op.options["activation"] == 1 and [r.name for r in readers[op.outputs[0]]] == ["CONV_2D"]
    ]
    producer, consumer = pairs[len(pairs) // 3]
    channels = parsed.tensors[producer.outputs[0]].shape[-1]
    tails = np.abs(np.random.default_rng(0).standard_t(2, channels))
    factors = np.exp(tails).clip(1.0, 30.0).astype(np.float32)

    def change(index: int, factor: Any) -> None:
        tensor = model.subgraphs[0].tensors[index]
        values = (
            np.array(model.buffers[tensor.buffer].data, np.uint8).view(np.float32).reshape(parsed.tensors[index].shape) * factor
        )
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = values.astype(np.float32).reshape(-1).view(np.uint8)
        tensor.buffer = len(model.buffers) - 1

    change(producer.inputs[1], factors.reshape(-1, 1, 1, 1))
    change(producer.inputs[2], factors)
    change(consumer.inputs[1], 1 / factors)
    return bytes(flatbuffer_edit._pack(schema, model))


def _with_odd_ones(tensors: list[Any]) -> list[Any]:
    rng, odd = np.random.default_rng(0), list(tensors)
    for turn, place in enumerate(rng.choice(len(odd), max(1, len(odd) // 20), replace=False)):
        noise = rng.uniform(-1, 1, odd[place].shape).astype(np.float32)
        odd[place] = noise if turn % 2 else np.clip(odd[place] * 2 + 1.5, -1, 1)
    return odd


def _aeq(python: Path, reference: bytes, tensors: list[Any], measure: Measure) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.monotonic()
        (folder / "float.tflite").write_bytes(reference)
        np.save(folder / "tensors.npy", np.concatenate(tensors))
        files = [str(folder / file) for file in ("float.tflite", "tensors.npy", "aeq.tflite")]
        subprocess.run([str(python), str(HERE / "aeq_static.py"), *files], check=True, capture_output=True)
        seconds = round(time.monotonic() - started, 1)
        return {"seconds": seconds, **measure((folder / "aeq.tflite").read_bytes())}


def _measure(made: bytes, expected: Any, test: Photos, contract: Any) -> dict[str, Any]:
    interpreter = open_interpreter(made, threads=1)
    spent = []
    for _ in range(30):
        started = time.perf_counter()
        interpreter.invoke()
        spent.append(1000 * (time.perf_counter() - started))
    pairing = compare(expected, activations.run(made, test.tensors), test.labels, contract)
    return {**pairing.to_dict(), "bytes": len(made), "ms": round(float(np.median(spent)), 2)}


def _text(row: str, results: dict[str, Any]) -> str:
    lines = [
        f"\n{row}",
        f"{'':20}{'top-1':>8}{'drop':>7}  {'95 % interval':>16}{'agree':>8}{'shift':>8}{'s':>7}{'MiB':>6}{'ms':>7}",
    ]
    for name, found in results.items():
        low, high = found["ci95"] or (float("nan"),) * 2
        lines.append(
            f"{name:20}{found['top1'] or 0:8.2%}{100 * (found['drop'] or 0):+7.2f}  {100 * low:+7.2f} to {100 * high:+5.2f}"
            f"{found['agreement'] or 0:8.2%}{found['error']:8.4f}{found['seconds']:7.1f}{found['bytes'] / 2**20:6.1f}{found['ms']:7.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
