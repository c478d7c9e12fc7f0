"""What quantization-aware training costs beside float training and tensorflow-model-optimization as it is.

    python benchmarks/qat_cost.py steps flowers.keras --images train/     a training step: float, ours, tfmot's, alternating
    python benchmarks/qat_cost.py convert flowers.keras --images train/   the trained network to int8: ours, then tfmot's graph
    python benchmarks/qat_cost.py run flowers.keras --images train/       three steps from end to end: peak memory, structure of the file
    python benchmarks/qat_cost.py sizes flowers.keras --images train/     pruned and clustered: bytes of the file, plain and gzip

Each prints its figures and appends them to ``benchmarks/results/qat_cost.json``. ``run`` works in a process of its own, whose peak
memory is measured, and counts the ops of the converted file for each type of input and output beside those of post-training
quantization. tfmot gets the network after the bridge: it refuses the original.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import append

STEPS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("steps", "convert", "run", "run-inside", "sizes"))
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=6, help="of steps, each form once a round")
    parser.add_argument("--without-ours", action="store_true", help="measure tfmot only")
    parser.add_argument("--without-tfmot", action="store_true", help="measure ours only")
    args = parser.parse_args()
    if args.what == "run-inside":
        print(json.dumps(run_inside(args)))
        return 0
    figures = {"steps": steps, "convert": convert, "run": run, "sizes": sizes}[args.what](args)
    print(json.dumps(figures, indent=1))
    append("qat_cost", {"what": args.what, "batch": args.batch, **figures})
    return 0


def load(args: argparse.Namespace) -> Any:
    import quantize

    labels = sorted(folder.name for folder in args.images.iterdir() if folder.is_dir())
    return quantize.load(args.model, name=args.model.stem, preprocess="inception", labels=labels)


def steps(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a training step (Adam, batch statistics) of each form, alternating."""
    import tensorflow as tf

    from edge.progress import stage
    from quantize.qat import bridge
    from quantize.qat import scheme as qat_scheme
    from quantize.qat import tensors as qat_tensors
    from quantize.qat.ranges import RangeTable

    source = load(args)
    network = bridge.bridge(source.model).network
    table = RangeTable(qat_tensors.find(network))
    table.set_observed({place.layer: (-1.0, 6.0) for place in table.places.observed})
    images = tf.random.uniform((args.batch, *source.input_shape), -1, 1, seed=0)
    forms: dict[str, Callable[[Any], float]] = {"float": _step(network, None)}
    if not args.without_ours:
        forms["ours"] = _step(qat_scheme.quantize_network(network, table.places, table), table)
    if not args.without_tfmot:
        forms["tfmot"] = _step(tfmot_network(network), None)
    for name, step in forms.items():
        with stage(f"first step, {name}"):
            step(images)
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(args.rounds):
        for name, step in forms.items():
            started = time.perf_counter()
            step(images)
            seconds[name].append(time.perf_counter() - started)
    medians = {f"{name}_s": round(statistics.median(values), 3) for name, values in seconds.items()}
    # Other work on the machine only ever adds time: the smallest of each is the better pair to compare.
    least = {name: min(values) for name, values in seconds.items()}
    ratios = {f"{name}_over_float": round(value / least["float"], 3) for name, value in least.items() if name != "float"}
    return {"shape": list(source.input_shape), "rounds": args.rounds, **medians, **ratios}


def tfmot_network(network: Any) -> Any:
    """Return ``network`` quantized by tfmot's default scheme."""
    from quantize.quiet import import_tf_keras, quiet

    keras = import_tf_keras()
    with quiet():
        import tensorflow_model_optimization as tfmot

        def plain(layer: Any) -> Any:
            config = layer.get_config()
            if "BatchNormalization" in type(layer).__name__:
                return keras.layers.BatchNormalization.from_config(config)
            return type(layer).from_config(config)

        copy = keras.models.clone_model(network, clone_function=plain)
        copy.set_weights(network.get_weights())
        return tfmot.quantization.keras.quantize_model(copy)


def _step(network: Any, table: Any) -> Callable[[Any], float]:
    import tensorflow as tf

    from quantize.quiet import import_tf_keras

    optimizer = import_tf_keras().optimizers.Adam(1e-7)
    variables = network.trainable_variables
    optimizer.build(variables)

    def run(images: Any) -> Any:
        with tf.GradientTape() as tape:
            with table.step(observe=True) if table is not None else contextlib.nullcontext():
                values = network(images, training=True)
            loss = tf.reduce_mean(tf.square(values))
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients([(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None])
        if table is not None:
            table.update()
        return loss

    traced = tf.function(run, autograph=False)
    return lambda images: float(traced(images))


def prepared(args: argparse.Namespace, source: Any) -> tuple[Any, Any, Any, Any]:
    """Return the bridged network, its places, ranges that serve any network, and one picture's tensor: what an export needs."""
    from edge.data.dataset import LabelledImages
    from edge.runtime.preprocess import preprocess
    from quantize.qat import bridge
    from quantize.qat import tensors as qat_tensors
    from quantize.qat.ranges import RangeTable

    network = bridge.bridge(source.model).network
    places = qat_tensors.find(network)
    table = RangeTable(places)
    table.set_observed({place.layer: (-1.0, 6.0) for place in places.observed})
    return network, places, table, preprocess(LabelledImages.open(args.images).items[0].path, source.contract.input)


def convert(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the trained network to an int8 file, as after each epoch, and of tfmot's graph by TensorFlow's converter."""
    import tensorflow as tf

    from edge.artefact import graph, graph_facts
    from quantize.qat.export import Exporter
    from quantize.quiet import quiet

    source = load(args)
    network, places, table, image = prepared(args, source)
    figures: dict[str, Any] = {"shape": list(source.input_shape)}
    if not args.without_ours:
        started = time.perf_counter()
        exporter = Exporter(source, network, places, lambda: iter([image]))
        figures["ours_once_s"] = round(time.perf_counter() - started, 1)
        started = time.perf_counter()
        ours = exporter.int8(table.read())
        figures |= {"ours_each_epoch_s": round(time.perf_counter() - started, 1), "ours": _ops(ours)}
    if not args.without_tfmot:
        quantized = tfmot_network(network)
        started = time.perf_counter()
        with quiet():
            converter = tf.lite.TFLiteConverter.from_keras_model(quantized)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            theirs = converter.convert()
        figures |= {"tfmot_s": round(time.perf_counter() - started, 1), "tfmot": _ops(theirs)}
        figures["tfmot"]["float_ops"] = len(graph_facts.float_ops(graph.read(theirs)))
    return figures


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Three training steps from end to end in a process of its own, and its peak memory."""
    command = [sys.executable, __file__, "run-inside", str(args.model), "--images", str(args.images), "--batch", str(args.batch)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "peak_memory_mib": round(peak)}


def run_inside(args: argparse.Namespace) -> dict[str, Any]:
    """Train, convert for each type of input and output, and count ops."""
    import numpy as np

    import quantize
    from edge.artefact import graph
    from edge.data.dataset import LabelledImages
    from edge.runtime.preprocess import preprocess
    from quantize import ptq
    from quantize.qat.api import QatConfig
    from quantize.qat.run import Run
    from quantize.reference import reference_outputs
    from quantize.tflite import conversion

    source = load(args)
    photos = LabelledImages.open(args.images, labels=source.contract.outputs[0].labels)
    training, validation = photos.subset(args.batch * STEPS), photos.subset(args.batch * STEPS + 8)
    tensors = [preprocess(item.path, source.contract.input) for item in training.subset(4)]
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            source=source,
            training=training,
            validation=validation.subset(8),
            representative=quantize.RepresentativeDataset.open(args.images, source=source, count=10),
            config=QatConfig(epochs=1, batch_size=args.batch, representative=10),
            work=Path(folder),
            reference=reference_outputs(source, validation.subset(8), Path(folder) / "reference.npz"),
        )
        run.check_bridge(np.concatenate(tensors))
        run.train()
        _, _, parity = run.finish()
        plain = _ops(conversion.quantize_int8(conversion.calibrate(run.exporter.float32(), tensors)))
        files = {}
        for io in conversion.IO_TYPES:
            raw = ptq.assemble(run.exporter.int8(run.table.read(), io=io), source.contract)
            ptq.check(graph.read(raw), variant="int8", io=io, runtime=None)  # no float tensor inside
            files[io] = _ops(raw)
    return {"shape": list(source.input_shape), "steps": STEPS, "parity": parity, "ptq": plain, "qat": files}


def sizes(args: argparse.Namespace) -> dict[str, Any]:
    """Bytes of the int8 file as it is, pruned by half, and with 16 values in each kernel; before training, which keeps both."""
    from quantize.qat import compress as qat_compress
    from quantize.qat.export import Exporter

    source = load(args)
    network, places, table, image = prepared(args, source)
    exporter = Exporter(source, network, places, lambda: iter([image]))
    before = network.get_weights()
    forms: dict[str, Callable[[], None]] = {
        "plain": lambda: None,
        "sparsity 0.5": lambda: qat_compress.prune(network, 0.5),
        "clusters 16": lambda: qat_compress.cluster(network, 16),
    }
    found = {}
    for name, change in forms.items():
        network.set_weights(before)
        started = time.perf_counter()
        change()
        seconds = round(time.perf_counter() - started, 1)
        flatbuffer = exporter.int8(table.read())
        found[name] = {"bytes": len(flatbuffer), "gzip_bytes": len(gzip.compress(flatbuffer)), "seconds": seconds}
    return {"sizes": found}


def _ops(flatbuffer: bytes) -> dict[str, int]:
    from edge.artefact import graph, graph_facts

    counts = graph_facts.op_counts(graph.read(flatbuffer))
    return {"all": sum(counts.values()), **dict(sorted(counts.items()))}


if __name__ == "__main__":
    raise SystemExit(main())
