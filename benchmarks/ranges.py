"""Full int8 by every range method, by the plain converter and by litert-quantizer, on the network as it is and made hard.

    python benchmarks/ranges.py flowers.keras --images train/ --test test/ --preprocess inception [--litert-python env/bin/python]

``auto-by-litert-quantizer`` is ``auto`` with the other quantizer (``edgekit quantize --quantizer litert-quantizer``), where
that extra is installed. Rows: the network as it is; per-tensor weights; 4 calibration images; 5 % of them replaced by noise and
over-exposed ones; the channels of one layer rescaled to heavy tails (the function stays the same). Every file is run over the
test photos and paired with the float32 file, and ``auto`` with every other method (``ranges_paired``). What is measured is kept
in ``out-ranges/`` as it comes, so that an interrupted run goes on; ``--again auto`` measures a method anew. Prints a table for
each row; ``--record`` appends all to ``benchmarks/results/ranges.json``. Whether a choice is right shows on networks that are
overfit, calibrated once with training photos and once with photos that they never saw, and tested on photos of neither: one
call for each, with ``--network`` and ``--calibrated-with``.
``--litert-python`` is the Python of an environment with ``litert-quantizer``. ``--driving`` takes a line of the driving
bot: ``--images`` and ``--test`` are then manifests as ``examples/driving/train.py`` writes them, and there is a shift but no agreement.

The fixed methods' files are edited from one int8 file, as the search does it (a test holds such files equal to the quantizer's own);
their seconds are those of observing, of choosing and of one run of the quantizer.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ranges_paired import Answers, against
from ranges_paired import text as paired_text
from record import append

import quantize
from edge.artefact import graph
from edge.runtime.interpreter import open_interpreter
from quantize import ptq
from quantize.analyse.paired import Photos, compare
from quantize.calibrate import activations, auto_ranges, refine
from quantize.tflite import conversion, quantizers
from quantize.tflite import edit as flatbuffer_edit
from quantize.tflite.int8_file import Int8File

HERE = Path(__file__).parent
LITERT = "litert-quantizer"
BY_LITERT = "auto-by-litert-quantizer"
METHODS = ("auto", "converter", "blend-0.05", "blend-0.2", "mean", "moving-average", "minmax", "percentile", "mse", "kl")
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
    by_litert = [BY_LITERT] if find_spec("litert_quantizer") is not None else []
    parser.add_argument("--methods", default=",".join((*METHODS[:2], LITERT, *by_litert, *METHODS[2:])))
    parser.add_argument("--again", default="", metavar="METHODS", help="measure these anew")
    parser.add_argument("--litert-python", type=Path)
    parser.add_argument("--driving", action="store_true", help="the model is a line of the driving bot")
    parser.add_argument("--out", type=Path, default=Path("out-ranges"))
    parser.add_argument("--record", action="store_true", help="append the table to benchmarks/results/ranges.json")
    parser.add_argument("--network", help="what the record calls the model; default the file's name")
    parser.add_argument(
        "--calibrated-with", default="", help="what the record says of --images: training photos, or photos never seen"
    )
    args = parser.parse_args()
    source = _driving(args.model) if args.driving else quantize.load(args.model, name="model", preprocess=args.preprocess)
    photos = quantize.RepresentativeDataset.open(args.images, count=args.count, source=source)
    test = _frames(args.test, source) if args.driving else Photos.open(args.test, source.contract, limit=args.limit)
    work = _Work(args, _float32(source, args.out), list(photos.tensors()), test, source.contract)
    for row in args.rows.split(","):
        work.fill(row)
        print(_text(row, work.table[row]), flush=True)
        if work.against_others(row):
            print(paired_text(auto_ranges.AUTO, work.against_others(row)), flush=True)
    if args.record:
        compared = {row: work.against_others(row) for row in work.table}
        told = {"network": args.network or args.model.stem, "calibrated_with": args.calibrated_with}
        append("ranges", {**told, "images": args.count, "test_images": len(test), "rows": work.table, "auto_against": compared})
    return 0


def _driving(model: Path) -> Any:
    """Return a line of the driving bot; its other inputs are scaled as in training."""
    sys.path.insert(0, str(HERE.parent / "examples" / "driving"))
    import keras
    import recording

    inputs = recording.inputs_of(keras.models.load_model(model, compile=False))
    return quantize.load(model, name="model", preprocess={"fit": "stretch"}, outputs="regression", inputs=inputs)


def _frames(manifest: Path, source: Any) -> Photos:
    """Return all rows of the manifest, each with the other inputs."""
    rows = quantize.RepresentativeDataset.open(manifest, count=sys.maxsize, source=source)
    tensors: list[Any] = list(rows.tensors())
    return Photos(tensors=tensors, labels=None, ids=tuple(map(str, range(len(tensors)))), unreadable=())


def _float32(source: Any, out: Path) -> bytes:
    """The float32 flatbuffer, kept for the next run."""
    kept = out / "reference.tflite"
    if not kept.exists():
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            conversion.export_saved_model(source, Path(folder))
            kept.write_bytes(conversion.convert_float(Path(folder), "float32"))
    return kept.read_bytes()


class _Work:
    """The table as it grows, kept in a file."""

    def __init__(self, args: argparse.Namespace, reference: bytes, tensors: list[Any], test: Photos, contract: Any) -> None:
        self._reference, self._tensors, self._test, self._contract = reference, tensors, test, contract
        self._methods, self._again = args.methods.split(","), set(args.again.split(","))
        self._litert_python: Path | None = args.litert_python
        self._expected = activations.run(reference, test.tensors)
        self._path = args.out / f"rows-{args.count}-{len(test)}.json"
        self._answers: Path = args.out / f"answers-{args.count}-{len(test)}"
        self.table: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def fill(self, row: str) -> None:
        """Measure what the row lacks."""
        known = self.table.setdefault(row, {})
        missing = [method for method in self._methods if not self._kept(row, method).exists() or method in self._again]
        if self._litert_python is None and LITERT in missing:
            missing.remove(LITERT)
        if not missing:
            return
        made = _Row(row, self._reference, self._tensors)
        for method in missing:
            if method == LITERT:
                assert self._litert_python is not None
                seconds, flatbuffer = made.litert(self._litert_python)
            else:
                seconds, flatbuffer = made.by(method)
            found, answers = _measure(flatbuffer, self._expected, self._test, self._contract)
            known[method] = {"seconds": round(seconds, 1), **found}
            self._path.write_text(json.dumps(self.table, indent=1))
            answers.save(self._kept(row, method))
            print(f"{row}: {method} {known[method]}", flush=True)

    def against_others(self, row: str) -> dict[str, dict[str, Any]]:
        """Return auto against each other method of the row, of those whose answers are kept."""
        kept = {method: self._kept(row, method) for method in self.table[row]}
        answers = {method: Answers.load(path) for method, path in kept.items() if path.exists()}
        return against(auto_ranges.AUTO, answers) if auto_ranges.AUTO in answers else {}

    def _kept(self, row: str, method: str) -> Path:
        return self._answers / f"{row.replace(' ', '-').replace('%', 'percent')}.{method}.npz"


class _Row:
    """One row's network and images, calibrated and observed once."""

    def __init__(self, row: str, reference: bytes, tensors: list[Any]) -> None:
        self.per_channel = row != "per-tensor weights"
        if row == "4 images":
            tensors = tensors[:: max(1, len(tensors) // 4)][:4]
        if row == "5 % odd images":
            tensors = _with_odd_ones(tensors)
        if row == "heavy tails":
            reference = _heavy_tailed(reference)
        self.reference, self.tensors = reference, tensors

    @functools.cached_property
    def calibrated(self) -> tuple[float, bytes]:
        """Seconds and the flatbuffer with the ranges of TensorFlow's calibrator."""
        return _timed(lambda: conversion.calibrate(self.reference, self.tensors))

    @functools.cached_property
    def seen(self) -> tuple[float, activations.Activations]:
        """Seconds and what the float network did."""
        return _timed(lambda: auto_ranges.observe(self.reference, lambda: self.tensors, count=len(self.tensors)))

    @functools.cached_property
    def edited(self) -> tuple[float, bytes]:
        """Seconds and an int8 file whose ranges are edited for each method."""
        choice = auto_ranges.choose_ranges(self.reference, self.reference, self._images, method="minmax", seen=self.seen[1])
        return _timed(lambda: conversion.quantize_int8(choice.calibrated, per_channel=self.per_channel))

    def _images(self) -> list[Any]:
        return self.tensors

    def by(self, method: str) -> tuple[float, bytes]:
        """Return seconds and the int8 file of one of edgekit's methods."""
        if method == auto_ranges.CONVERTER:
            seconds, made = _timed(lambda: conversion.quantize_int8(self.calibrated[1], per_channel=self.per_channel))
            return self.calibrated[0] + seconds, made
        if method in (auto_ranges.AUTO, BY_LITERT):
            name = quantizers.LITERT if method == BY_LITERT else quantizers.TENSORFLOW
            seconds, made = _timed(lambda: self._auto(self.calibrated[1], name))
            return self.calibrated[0] + seconds, made
        seconds, made = _timed(lambda: self._by(method))
        return self.seen[0] + self.edited[0] + seconds, made

    def _auto(self, calibrated: bytes, quantizer: str) -> bytes:
        quantize_int8 = ptq.quantizer_of(ptq.PtqConfig(per_channel=self.per_channel, quantizer=quantizer))
        choice = auto_ranges.choose_ranges(
            self.reference, calibrated, self._images, count=len(self.tensors), quantize=quantize_int8
        )
        print(choice.describe(), *(f"{name}: {method}" for name, method in choice.methods.items()), sep="\n  ", flush=True)
        made = quantize_int8(choice.calibrated)
        refined = refine.refine(made, self.reference, self._images)
        print(refined.describe(), flush=True)
        return refined.flatbuffer

    def _by(self, method: str) -> bytes:
        choice = auto_ranges.choose_ranges(self.reference, self.reference, self._images, method=method, seen=self.seen[1])
        file = Int8File(self.edited[1])
        file.set_ranges(choice.ranges)
        return file.pack()

    def litert(self, python: Path) -> tuple[float, bytes]:
        """Return seconds and the int8 file of litert-quantizer, in its own environment."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "float.tflite").write_bytes(self.reference)
            model = graph.read(self.reference)
            place = {index: position for position, index in enumerate(model.main.inputs)}
            names = {name: place[index] for name, index in model.signatures[0].inputs.items()}
            rows = [tensor if isinstance(tensor, tuple) else (tensor,) for tensor in self.tensors]
            arrays: dict[str, Any] = {name: np.stack([row[at] for row in rows]) for name, at in names.items()}
            np.savez(folder / "tensors.npz", **arrays)
            files = [str(folder / file) for file in ("float.tflite", "tensors.npz", "litert.tflite")]
            weights = [] if self.per_channel else ["--per-tensor"]
            command = [str(python), str(HERE / "litert_static.py"), *files, *weights]
            seconds, _ = _timed(lambda: subprocess.run(command, check=True, capture_output=True))
            return seconds, (folder / "litert.tflite").read_bytes()


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.monotonic()
    result = work()
    return time.monotonic() - started, result


def _heavy_tailed(reference: bytes) -> bytes:
    """The same function: the channels of one convolution with ReLU up to 30 times larger, what reads them as much smaller."""
    schema = flatbuffer_edit.classes()
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
    return bytes(flatbuffer_edit.pack(schema, model))


def _with_odd_ones(tensors: list[Any]) -> list[Any]:
    rng, odd = np.random.default_rng(0), list(tensors)
    for turn, place in enumerate(rng.choice(len(odd), max(1, len(odd) // 20), replace=False)):
        noise = rng.uniform(-1, 1, odd[place].shape).astype(np.float32)
        odd[place] = noise if turn % 2 else np.clip(odd[place] * 2 + 1.5, -1, 1)
    return odd


def _measure(made: bytes, expected: Any, test: Photos, contract: Any) -> tuple[dict[str, Any], Answers]:
    interpreter = open_interpreter(made, threads=1)
    spent = []
    for _ in range(30):
        started = time.perf_counter()
        interpreter.invoke()
        spent.append(1000 * (time.perf_counter() - started))
    outputs = activations.run(made, test.tensors)
    pairing = compare(expected, outputs, test.labels, contract)
    found = {**pairing.to_dict(), "bytes": len(made), "ms": round(float(np.median(spent)), 2)}
    return found, Answers.of(expected, outputs, contract)


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
