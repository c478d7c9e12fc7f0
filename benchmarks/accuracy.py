"""Full int8 by edgekit, by the plain TFLiteConverter and by litert-quantizer: the same images, the same test photos.

    python benchmarks/accuracy.py flowers.keras --images train/ --test test/ [--litert-python env/bin/python]

litert-quantizer runs in an environment of its own (``pip install litert-quantizer``). Every file is validated against edgekit's
float32 file. Prints a table and appends it to ``benchmarks/results/accuracy.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import append

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--litert-python", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out-accuracy"))
    parser.add_argument("--side", choices=("edgekit", "converter"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.side:
        print(json.dumps(_make_ours(args) if args.side == "edgekit" else _make_theirs(args)))
        return 0
    made = {"edgekit": _run([sys.executable, __file__, *sys.argv[1:], "--side", "edgekit"])}
    made["TFLiteConverter"] = _run([sys.executable, __file__, *sys.argv[1:], "--side", "converter"])
    if args.litert_python:
        files = [args.out / name for name in ("plain.float32.tflite", "tensors.npy", "litert.int8.tflite")]
        made["litert-quantizer"] = _run([str(args.litert_python), str(HERE / "litert_static.py"), *map(str, files)])
    rows = {"float32": _row(args, args.out / "model.float32.tflite", {})}
    for name, spent in made.items():
        rows[name] = _row(args, args.out / FILES[name], spent)
    append("accuracy", {"images": args.count, "rows": rows})
    print(_table(rows))
    return 0


FILES = {"edgekit": "model.int8.tflite", "TFLiteConverter": "converter.int8.tflite", "litert-quantizer": "litert.int8.tflite"}


def _run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    spent: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return spent


def _open(args: argparse.Namespace) -> tuple[Any, Any]:
    import quantize

    labels = sorted(folder.name for folder in args.images.iterdir() if folder.is_dir())
    source = quantize.load(args.model, name="model", preprocess="inception", labels=labels)
    return source, quantize.RepresentativeDataset.from_folder(args.images, count=args.count, contract=source.contract)


def _make_ours(args: argparse.Namespace) -> dict[str, Any]:
    import quantize
    from edge.artefact import container
    from quantize.tflite import edit as flatbuffer_edit

    source, photos = _open(args)
    np.save(args.out / "tensors.npy", np.concatenate(list(photos.tensors())))
    started = time.monotonic()
    for artefact in quantize.post_training_variants(source, photos, ("float32", "int8")):
        artefact.save(args.out)
    spent = _spent(started)
    # Without our metadata: another tool's output must not claim to carry our contract.
    flatbuffer = container.read(args.out / "model.float32.tflite").flatbuffer()
    names = source.output_names
    plain = flatbuffer_edit.finish(flatbuffer, output_names=names, input_names=["input"], metadata={})
    (args.out / "plain.float32.tflite").write_bytes(plain)
    return spent


def _make_theirs(args: argparse.Namespace) -> dict[str, Any]:
    import tensorflow as tf

    source, photos = _open(args)
    started = time.monotonic()
    converter = tf.lite.TFLiteConverter.from_keras_model(source.model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([tensor] for tensor in photos.tensors())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (args.out / FILES["TFLiteConverter"]).write_bytes(converter.convert())
    return _spent(started)


def _spent(started: float) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall_s": round(time.monotonic() - started, 1), "peak_memory_mib": round(peak)}


def _row(args: argparse.Namespace, file: Path, spent: dict[str, Any]) -> dict[str, Any]:
    import edge
    from edge.bench.latency import benchmark

    reference = edge.load(args.out / "model.float32.tflite")
    assert reference.contract is not None
    if file.name.startswith("model."):
        model = edge.load(file)
    else:
        model = edge.load(file, input=reference.contract.input, outputs=reference.contract.outputs)
    report = edge.validate(model, args.test, reference=reference, max_drop=0.01).to_dict()
    keep = {key: report[key] for key in ("images", "candidate", "drop", "agreement", "probability_shift", "verdict")}
    return {**keep, "bytes": file.stat().st_size, "p50_ms": benchmark(model).latency.p50_ms, **spent}


def _table(rows: dict[str, dict[str, Any]]) -> str:
    head = ("full int8 by", "top-1", "drop", "95 % interval", "lost/won", "agree", "shift", "MiB", "ms", "seconds", "peak MiB")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in rows.items():
        drop, (low, high) = row["drop"], row["drop"]["ci95"]
        lost, won = (len(drop[key]) if isinstance(drop[key], list) else drop[key] for key in ("flips_lost", "flips_won"))
        cells = (
            name,
            f"{row['candidate']['top1']:.2%}",
            f"{100 * drop['top1']:+.2f}",
            f"{100 * low:+.2f} to {100 * high:+.2f}",
            f"{lost}/{won}",
            f"{row['agreement']:.2%}",
            f"{row['probability_shift']:.4f}",
            f"{row['bytes'] / 2**20:.1f}",
            f"{row['p50_ms']:.1f}",
            f"{row.get('wall_s', '-')}",
            f"{row.get('peak_memory_mib', '-')}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
