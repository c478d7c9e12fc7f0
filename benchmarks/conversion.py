"""All five variants by edgekit against five runs of TFLiteConverter, on the same model and images, one after the other.

    python benchmarks/conversion.py flowers.keras --images train/ [--count 200]

Each side is a process of its own that loads the model once. Prints wall seconds, peak memory, their ratios, and the share of
output values that are equal bit for bit, and appends all of it to ``benchmarks/results/conversion.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import append

VARIANTS = ("float32", "float16", "dynamic", "int8", "int16x8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("out-conversion"))
    parser.add_argument("--side", choices=("edgekit", "converter"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(SIDES[args.side](args)))
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {side: _measure(side) for side in SIDES}
    ours, theirs = figures["edgekit"], figures["converter"]
    figures["ratio"] = {key: round(ours[key] / theirs[key], 3) for key in ("wall_s", "peak_memory_mib")}
    figures["equal_outputs"] = {variant: _equal_share(args, variant) for variant in VARIANTS}
    append("conversion", figures)
    print(json.dumps(figures, indent=1))
    return 0


def _measure(side: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
    started = time.monotonic()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return {"process_s": round(time.monotonic() - started, 1), **json.loads(done.stdout.splitlines()[-1])}


def _edgekit(args: argparse.Namespace) -> dict[str, Any]:
    import quantize

    source = quantize.load(args.model, name="ours", preprocess="inception")
    photos = quantize.RepresentativeDataset.from_folder(args.images, count=args.count, contract=source.contract)
    started = time.monotonic()
    # The converter's own ranges: the same work on both sides, and so the same answers.
    config = quantize.PtqConfig(ranges="converter")
    for artefact in quantize.post_training_variants(source, photos, config=config):
        artefact.save(args.out)
    return _spent(started)


def _converter(args: argparse.Namespace) -> dict[str, Any]:
    import keras
    import tensorflow as tf

    import quantize

    source = quantize.load(args.model, preprocess="inception")
    photos = quantize.RepresentativeDataset.from_folder(args.images, count=args.count, contract=source.contract)
    model = keras.models.load_model(args.model, compile=False)
    started = time.monotonic()
    for variant in VARIANTS:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        CONFIGURE[variant](tf, converter)
        if variant in ("int8", "int16x8"):
            converter.representative_dataset = lambda: ([tensor] for tensor in photos.tensors())
        (args.out / f"theirs.{variant}.tflite").write_bytes(converter.convert())
    return _spent(started)


def _float16(tf: Any, converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(tf: Any, converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _int8(tf: Any, converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8


def _int16x8(tf: Any, converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]


def _spent(started: float) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall_s": round(time.monotonic() - started, 1), "peak_memory_mib": round(peak)}


def _equal_share(args: argparse.Namespace, variant: str) -> float:
    """Share of bit-equal output values of the two files on 20 of the images."""
    import quantize
    from edge.runtime.interpreter import open_interpreter
    from edge.runtime.loading import load
    from edge.runtime.preprocess import lookup_table, to_tensor

    ours = load(args.out / f"ours.{variant}.tflite")
    assert ours.contract is not None
    theirs = open_interpreter((args.out / f"theirs.{variant}.tflite").read_bytes(), threads=ours.runtime.threads)
    photos = quantize.RepresentativeDataset.from_folder(args.images, count=20, contract=ours.contract)
    table = lookup_table(ours.contract.input, theirs.inputs[0])
    equal = []
    for pixels in photos.sample(20):
        theirs.set_input(to_tensor(pixels, table))
        theirs.invoke()
        mine = ours.invoke(ours.preprocess(pixels))
        equal += [np.mean(theirs.output(i)[0] == mine[name]) for i, name in enumerate(mine)]
    return float(np.mean(equal))


SIDES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {"edgekit": _edgekit, "converter": _converter}
CONFIGURE: dict[str, Callable[[Any, Any], None]] = {
    "float32": lambda tf, converter: None,
    "float16": _float16,
    "dynamic": _dynamic,
    "int8": _int8,
    "int16x8": _int16x8,
}

if __name__ == "__main__":
    sys.exit(main())
