"""Float, post-training quantization and quantization-aware training side by side, per channel and per tensor, on unseen photos.

    python benchmarks/qat.py flowers.keras --images train/ --test test/ --epochs 3 [--batch 16]

The training photos are split: every tenth validates, the rest train. A float control gets the same extra epochs (fine-tuning alone
moves top-1). Everything is paired against the float network on ``--test``. Also measured: seconds of a training step, float and
fake-quantized, alternating; seconds of an export; peak memory of the whole. Prints a table and appends it to
``benchmarks/results/qat.json``.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import append

STEPS = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--out", type=Path, default=Path("out-qat"))
    parser.add_argument("--steps-only", action="store_true", help="time training steps and memory, train nothing")
    args = parser.parse_args()
    figures: dict[str, Any] = {"epochs": args.epochs, "batch": args.batch, "step": _steps(args)}
    if not args.steps_only:
        figures["rows"] = _rows(args)
        print(_table(figures["rows"]))
    figures["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    append("qat", figures)
    print(figures["step"], f"peak {figures['peak_memory_mib']} MiB")
    return 0


def _load(args: argparse.Namespace) -> Any:
    import quantize

    labels = sorted(folder.name for folder in args.images.iterdir() if folder.is_dir())
    return quantize.load(args.model, name=args.model.stem, preprocess="inception", labels=labels)


def _split(args: argparse.Namespace, labels: tuple[str, ...]) -> tuple[Any, Any]:
    import dataclasses

    from edge.dataset import LabelledImages

    photos = LabelledImages.open(args.images, labels=labels)
    tenth = tuple(item for i, item in enumerate(photos) if i % 10 == 0)
    rest = tuple(item for i, item in enumerate(photos) if i % 10)
    return dataclasses.replace(photos, items=rest), dataclasses.replace(photos, items=tenth)


def _rows(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    import edge
    from quantize.qat import QatConfig, quantization_aware
    from quantize.reference import reference_outputs

    source = _load(args)
    train, validation = _split(args, source.contract.outputs[0].labels)
    reference = reference_outputs(source, args.test, args.out / "test.npz")
    rows: dict[str, dict[str, Any]] = {}
    for scheme, per_channel in (("per channel", True), ("per tensor", False)):
        config = QatConfig(
            epochs=args.epochs,
            learning_rate=args.learning_rate,
            batch_size=args.batch,
            per_channel=per_channel,
            patience=args.epochs,
        )
        result = quantization_aware(source, train, validation, config, out=args.out / scheme.replace(" ", "-"))
        for name, path in ((f"PTQ {scheme}", result.ptq), (f"QAT {scheme}", result.trained)):
            rows[name] = _row(edge.validate(path, args.test, reference=reference).to_dict())
        rows[f"QAT {scheme}"] |= {"best_epoch": result.best_epoch, "parity": result.parity, "seconds": round(result.seconds)}
    control = _float_control(args, source, train)
    rows["float, same epochs"] = _row(edge.validate(control, args.test, reference=reference).to_dict())
    return rows


def _float_control(args: argparse.Namespace, source: Any, train: Any) -> Path:
    """Train the float network as QAT does, without fake quantization, and convert it to float32."""
    from edge.container import pack
    from quantize import bridge, ptq, qat_tensors
    from quantize.qat_data import TrainingImages
    from quantize.qat_export import Exporter
    from quantize.qat_loss import Head
    from quantize.qat_run import output_layers
    from quantize.qat_train import Trainer

    network = bridge.bridge(source.model).network
    places = qat_tensors.find(network)
    images = TrainingImages.open(train, source.contract, [len(source.contract.outputs[0].labels)])
    (layer, squashed), spec = output_layers(network, places)[0], source.contract.outputs[0]
    found = network.get_layer(layer)
    head = Head(spec=spec, layer=layer, squashed=squashed, has_truth=True, distills=False)
    steps = args.epochs * images.steps(args.batch)
    trainer = Trainer(
        network, [found.input if squashed else found.output], (head,), images, table=None, steps=steps,
        frozen_from=steps // 2, learning_rate=args.learning_rate, batch_size=args.batch,
    )  # fmt: skip
    exporter = Exporter(source, network, places, lambda: images.in_order(1))
    for epoch in range(args.epochs):
        trainer.epoch(epoch)
    contract = source.contract.replace(name=source.name)
    path: Path = args.out / "control.float32.tflite"
    path.write_bytes(pack(ptq.assemble(exporter.float32(), contract), contract))
    return path


def _steps(args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a training step: float, fake-quantized while ranges move, and with everything frozen; alternating."""
    import tensorflow as tf

    from quantize import bridge, qat_scheme, qat_tensors
    from quantize.qat_export import Exporter
    from quantize.qat_ranges import RangeTable

    source = _load(args)
    network = bridge.bridge(source.model).network
    places = qat_tensors.find(network)
    table = RangeTable(places)
    table.set_observed({place.layer: (-1.0, 6.0) for place in places.observed})
    images = tf.random.uniform((args.batch, *source.input_shape), -1, 1, seed=0)
    quantized = qat_scheme.quantize_network(network, places, table)
    forms = {
        "float": _step(network, None, frozen=False),
        "fake_quantized": _step(quantized, table, frozen=False),
        "fake_quantized_frozen": _step(quantized, table, frozen=True),
    }
    for step in forms.values():
        step(images)
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(STEPS):
        for name, step in forms.items():
            started = time.perf_counter()
            step(images)
            seconds[name].append(time.perf_counter() - started)
    exporter = Exporter(source, network, places, lambda: iter([np.asarray(images[:1])]))
    started = time.perf_counter()
    exporter.int8(table.read())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {f"{name}_ratio": value / medians["float"] for name, value in medians.items() if name != "float"}
    return {**medians, **ratios, "export_s": time.perf_counter() - started}


def _step(network: Any, table: Any, *, frozen: bool) -> Any:
    import contextlib

    import tensorflow as tf

    from quantize.quiet import import_tf_keras

    optimizer = import_tf_keras().optimizers.Adam(1e-5)
    optimizer.build(network.trainable_variables)

    def run(images: Any) -> Any:
        with tf.GradientTape() as tape:
            with table.step(observe=not frozen) if table is not None else contextlib.nullcontext():
                values = network(images, training=True)
            loss = tf.reduce_mean(tf.square(values))
        optimizer.apply_gradients(zip(tape.gradient(loss, network.trainable_variables), network.trainable_variables, strict=True))
        if table is not None:
            table.update()
        return loss

    def step(images: Any) -> float:
        for layer in network.layers:
            layer = getattr(layer, "layer", layer)
            if hasattr(layer, "frozen"):
                layer.frozen = frozen  # read while tracing
        return float(traced(images))

    traced = tf.function(run, autograph=False)
    return step


def _row(report: dict[str, Any]) -> dict[str, Any]:
    drop = report["drop"]
    return {
        "images": report["images"],
        "top1": report["candidate"]["top1"],
        "drop": drop["top1"],
        "ci95": drop["ci95"],
        "flips": drop["flips_lost"] + drop["flips_won"],
        "agreement": report["agreement"],
        "probability_shift": report["probability_shift"],
    }


def _table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'':20}{'top-1':>8}{'drop (95 % interval), points':>32}{'flips':>7}{'agreement':>11}{'shift':>9}"]
    for name, row in rows.items():
        low, high = row["ci95"]
        drop = f"{100 * row['drop']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        lines.append(
            f"{name:20}{row['top1']:8.1%}{drop:>32}{row['flips']:7}{row['agreement']:11.1%}{row['probability_shift']:9.4f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
