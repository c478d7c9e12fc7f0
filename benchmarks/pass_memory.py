"""Does the pass over the representative images keep its promise: memory that does not grow with them, time in proportion?

    python benchmarks/pass_memory.py [--counts 200 2000 20000] [--size 64]

Makes as many small synthetic photos as the largest count, and a small network with random weights. For each count a process of its
own chooses the photos, observes the float network, computes the ranges of every method, chooses by ``auto``, and refines the int8
file. Prints peak memory and seconds of each part, and appends them to ``benchmarks/results/pass_memory.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from record import append

CLASSES = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[200, 2000, 20000])
    parser.add_argument("--size", type=int, default=64, help="pixels on each side of photo and input (default 64)")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(_measured(args.one, args.counts[0])))
        return 0
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        _prepare(Path(folder), max(args.counts), args.size)
        rows = [_in_another_process(Path(folder), count) for count in args.counts]
    first = rows[0]
    for row in rows:
        row["peak_to_first"] = round(row["peak_mib"] / first["peak_mib"], 3)
        row["seconds_per_image_to_first"] = round(
            row["pass_seconds"] / row["images"] / (first["pass_seconds"] / first["images"]), 3
        )
        print(json.dumps(row))
    print(append("pass_memory", {"size": args.size, "runs": rows}))
    return 0


def _prepare(folder: Path, count: int, size: int) -> None:
    rng = np.random.default_rng(1)
    for number in range(count):
        path = folder / "photos" / f"class{number % CLASSES}" / f"{number:06d}.bmp"  # decoded as fast as read
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((size, size))
        coarse.save(path)
    from quantize.quiet import import_keras, quiet
    from quantize.tflite import conversion

    with quiet():
        keras = import_keras()
        keras.utils.set_random_seed(1)
        inputs = values = keras.Input((size, size, 3), name="picture")
        for filters in (16, 32, 64):
            values = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(values)
            branch = keras.layers.Conv2D(filters, 3, padding="same")(values)
            values = keras.layers.ReLU()(keras.layers.Add()([values, branch]))
        values = keras.layers.GlobalAveragePooling2D()(values)
        model = keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax", name="kind")(values))
        model.save(folder / "network.keras")
    source = _source(folder)
    conversion.export_saved_model(source, folder / "saved")
    (folder / "float32.tflite").write_bytes(conversion.convert_float(folder / "saved", "float32"))


def _source(folder: Path) -> Any:
    import quantize

    return quantize.load(folder / "network.keras", preprocess="inception", labels=[f"class{i}" for i in range(CLASSES)])


def _in_another_process(folder: Path, count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", str(folder), "--counts", str(count)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return row


def _measured(folder: Path, count: int) -> dict[str, Any]:
    import quantize
    from quantize.calibrate import auto_ranges, ranges, refine
    from quantize.tflite import conversion

    reference, contract = (folder / "float32.tflite").read_bytes(), _source(folder).contract
    seconds: dict[str, float] = {}

    def timed(name: str, began: float) -> float:
        now = time.perf_counter()
        seconds[name] = round(now - began, 2)
        return now

    at = time.perf_counter()
    photos = quantize.RepresentativeDataset.from_folder(folder / "photos", count=count, contract=contract)
    at = timed("choose the photos", at)
    calibrated = conversion.calibrate(reference, photos.tensors())
    at = timed("TensorFlow's calibrator", at)
    seen = auto_ranges.observe(reference, photos.tensors, count=count)
    at = timed("observe", at)
    for name in ranges.METHODS:
        auto_ranges.choose_ranges(reference, calibrated, photos.tensors, method=name, seen=seen)
    at = timed("ranges of every method", at)
    chosen = auto_ranges.choose_ranges(reference, calibrated, photos.tensors, seen=seen)
    at = timed("auto", at)
    refine.refine(conversion.quantize_int8(chosen.calibrated), reference, photos.tensors)
    timed("refine", at)
    return {
        "images": len(photos),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "seconds": seconds,
        "pass_seconds": seconds["observe"],
    }


if __name__ == "__main__":
    sys.exit(main())
