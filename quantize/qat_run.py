"""One run of quantization-aware training from bridged network to best file. Importing this module imports TensorFlow."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import edge
from edge import graph, graph_facts
from edge.container import pack
from edge.contract import Contract, Quantization
from edge.dataset import LabelledImages
from edge.files import atomic_write
from edge.preprocess import lookup_table
from edge.progress import stage
from edge.reference import ReferenceOutputs
from edge.version import __version__

from . import bridge, ptq, qat_compress, qat_heads, qat_parity, qat_record, qat_scheme, qat_state, qat_tensors
from .bridge import QUANTIZED_INPUT, Bridged
from .errors import BridgeError
from .qat_config import QatConfig
from .qat_data import TrainingImages
from .qat_export import Exporter
from .qat_ranges import RangeTable
from .qat_train import Trainer, predictor
from .quiet import import_tf_keras, quiet
from .representative import RepresentativeDataset
from .source import Source

VARIANT = "int8-qat"
SCHEME = "int8 weights and activations, int32 biases, trained with fake quantization"
_PARITY_IMAGES = 200


class Run:
    """The network in its three forms (float, fake-quantized, converted) and the loop over epochs. ``rows``: one dict an epoch."""

    def __init__(
        self,
        *,
        source: Source,
        training: LabelledImages,
        validation: LabelledImages,
        representative: RepresentativeDataset,
        config: QatConfig,
        work: Path,
        reference: ReferenceOutputs,
    ) -> None:
        self.source, self.config, self.work, self.reference = source, config, work, reference
        self.validation, self.representative = validation, representative
        self._settings = qat_state.describe(config, source, training, validation)
        with stage("rebuild the network for training"):
            self.bridged: Bridged = bridge.bridge(source.model)
        self.network = self.bridged.network
        self.places = qat_tensors.find(self.network)
        sizes = [math.prod(int(n) for n in tensor.shape[1:]) for tensor in _listed(self.network.outputs)]
        self.images = TrainingImages.open(training, source.contract, sizes, augment=config.augment, seed=config.seed)
        self.checks = TrainingImages.open(validation, source.contract, sizes)
        self.headline = next((i for i, output in enumerate(source.contract.outputs) if output.is_classes), None)
        self.rows: list[dict[str, Any]] = []
        self._best: dict[str, Any] = {}
        self._start = 0

    def check_bridge(self, tensors: np.ndarray) -> None:
        """Compare the rebuilt network with the original on real images, and its outputs with the contract's by name."""
        with stage("compare it with the original"):
            bridge.check(self.bridged, tensors)
            answers = self.source.predict(tensors[:1])
            ours = _listed(self.network(tensors[:1], training=False))
        for name, value in zip(self.source.output_names, ours, strict=True):
            apart = bridge.relative_difference(np.asarray(value)[0].reshape(-1), answers[name].reshape(-1))
            if apart > bridge.TOLERANCE:
                raise BridgeError(
                    f"output {name!r} of the rebuilt network differs from the original's by {apart:.1e} of the largest value"
                )
        self._prepare()

    def resume(self) -> None:
        """Take up the state of an interrupted run. Raises TrainingError if there is none, or it was made with other settings."""
        qat_state.check(self.work, self._settings)
        arrays, meta = qat_state.load(self.work)
        self.trainer.restore(arrays)
        self._best, self._start = meta["best"], meta["epoch"]
        # An interrupt between a row and the next epoch's start: that epoch is validated again.
        self.rows = [row for row in meta["rows"] if row["epoch"] <= meta["epoch"]]

    def train(self) -> None:
        """Run all epochs; stop early where the converted file no longer gets better. The state is saved after each, and on Ctrl-C."""
        config, epoch = self.config, self._start
        if not self.rows:
            self._evaluate(0, None, time.monotonic())
        try:
            while epoch < config.epochs and not self._stale():
                started = time.monotonic()
                loss = self.trainer.epoch(epoch)
                self._evaluate(epoch + 1, None if math.isnan(loss) else loss, started)
                epoch += 1
                self._save(epoch)
        except KeyboardInterrupt:
            self._save(epoch)
            raise

    def finish(self) -> tuple[ptq.Artefact, int, dict[str, Any]]:
        """Return the best epoch's artefact with golden samples, its number, and its parity."""
        flatbuffer = (self.work / qat_state.best_file(self._best["epoch"])).read_bytes()
        data, contract = ptq.complete(flatbuffer, self._contract(), golden_samples=self.config.golden_samples)
        model = graph.read(flatbuffer)
        artefact = ptq.Artefact(
            name=self.source.name,
            variant=VARIANT,
            data=data,
            contract=contract,
            seconds=sum(row["seconds"] for row in self.rows),
            ops=graph_facts.op_counts(model),
            float_ops=len(graph_facts.float_ops(model)),
        )
        return artefact, int(self._best["epoch"]), self._best["parity"]

    def _prepare(self) -> None:
        config = self.config
        with stage("convert the float network"):
            self.exporter = Exporter(self.source, self.network, self.places, self._calibrating)
        self.teacher = qat_heads.teacher(self.network, self.places, self.images, config)
        if config.sparsity:
            qat_compress.prune(self.network, config.sparsity)
        if config.clusters is not None:
            qat_compress.cluster(self.network, config.clusters)
        self.table = RangeTable(self.places)
        with stage("set the first ranges"):
            self.table.set_observed(self._observe())
        with stage("build the fake-quantized network"):
            self.quantized = qat_scheme.quantize_network(self.network, self.places, self.table, per_channel=config.per_channel)
        heads = qat_heads.heads(self.source, self.network, self.places, self.images, config)
        wiring = qat_scheme.wiring(self.quantized)
        taps = [wiring[head.layer][0 if head.squashed else 1] for head in heads]
        steps = config.epochs * self.images.steps(config.batch_size)
        keep = qat_compress.keeper(self.network, self.quantized, sparsity=config.sparsity, clusters=config.clusters)
        self.trainer = Trainer(
            self.quantized,
            taps,
            heads,
            self.images,
            table=self.table,
            steps=steps,
            frozen_from=round(config.freeze_from * steps),
            learning_rate=config.learning_rate,
            batch_size=config.batch_size,
            after_step=keep,
        )
        self.trainer.teacher = self.teacher
        self._predict_float = predictor(self.network, None)
        self._predict_quantized = predictor(self.quantized, self.table)

    def _calibrating(self) -> Iterator[np.ndarray]:
        for tensor in self.representative.tensors():
            assert isinstance(tensor, np.ndarray)  # the bridge refuses several inputs
            yield tensor

    def _observe(self) -> dict[str, tuple[float, float]]:
        """Return the extremes of every observed place over the representative images; the input's are those of the preprocessing."""
        names = [place.layer for place in self.places.observed]
        taps = [self.network.get_layer(name).output for name in names]
        model = import_tf_keras().Model(self.network.input, taps)

        def extremes(tensor: Any) -> Any:
            values = _listed(model(tensor, training=False))
            return tf.stack([tf.reduce_min(v) for v in values]), tf.stack([tf.reduce_max(v) for v in values])

        traced = tf.function(extremes, autograph=False)
        low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        with quiet():
            for tensor in self._calibrating():
                lows, highs = traced(tf.constant(tensor))
                low, high = np.minimum(low, lows), np.maximum(high, highs)
        ranges = {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}
        table = lookup_table(self.source.contract.input)
        ranges[QUANTIZED_INPUT] = (float(table.min()), float(table.max()))
        return ranges

    def _evaluate(self, epoch: int, loss: float | None, started: float) -> None:
        """Convert, validate the converted file, and remember it where it is the best so far."""
        qat_scheme.strip(self.quantized, self.network)
        with stage(f"epoch {epoch}: convert"):
            raw = self.exporter.int8(self.table.read(), io=self.config.io, per_channel=self.config.per_channel)
        finished = ptq.assemble(raw, self._contract())
        ptq.check(graph.read(finished), variant="int8", io=self.config.io, runtime=None)
        path = self.work / qat_state.EPOCH
        atomic_write(path, pack(finished, self._contract()))
        with stage(f"epoch {epoch}: validate"):
            report = edge.validate(path, self.validation, reference=self.reference, diagnose="never").to_dict()
            simulated = self._outputs(self._predict_quantized)
            accuracy = {"fake_quantized": self._accuracy(simulated), "float": self._accuracy(self._outputs(self._predict_float))}
            parity = qat_parity.compare(finished, simulated, self._singly(_PARITY_IMAGES), headline=self.headline)
        if not parity.holds:
            image = next(self._singly(1))
            where = qat_parity.first_divergence(raw, self.exporter.tensor_of, self.quantized, self.table, self.places, image)
            parity = dataclasses.replace(parity, diverges=where)
        row = qat_record.row(epoch, loss, accuracy, report, time.monotonic() - started) | {"parity": parity.to_dict()}
        self.rows.append(row)
        if not self._best or row["merit"] > self._best["merit"]:
            atomic_write(self.work / qat_state.best_file(epoch), finished)
            self._best = {"epoch": epoch, "merit": row["merit"], "parity": parity.to_dict()}

    def _stale(self) -> bool:
        return bool(self._best) and len(self.rows) - 1 - int(self._best["epoch"]) >= self.config.patience

    def _save(self, epoch: int) -> None:
        meta = {
            "epoch": epoch,
            "step": self.trainer.done(epoch),
            "rows": self.rows,
            "best": self._best,
            "settings": self._settings,
        }
        with stage("save the state"):
            qat_state.save(self.work, self.trainer.arrays(), meta)
            qat_state.remove_others(self.work, qat_state.best_file(self._best["epoch"]))

    def _contract(self) -> Contract:
        quantization = Quantization(
            variant="int8",
            scheme=SCHEME,
            per_channel=self.config.per_channel,
            ranges="learned",
            io=self.config.io,
            seed=self.config.seed,
            representative=self.representative.identities,
        )
        return self.source.contract.replace(name=self.source.name, quantization=quantization, written_by=f"edgekit {__version__}")

    def _outputs(self, predict: Any) -> list[np.ndarray]:
        chunks = [predict(tensors) for tensors in self.checks.in_order(self.config.batch_size)]
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]

    def _accuracy(self, outputs: list[np.ndarray]) -> float | None:
        """Top-1 (0..1) of the first output with classes, None where there is none or no labels."""
        truth: Mapping[str, np.ndarray] = self.checks.truth
        if self.headline is None:
            return None
        spec = self.source.contract.outputs[self.headline]
        if spec.name not in truth:
            return None
        scores = outputs[self.headline].copy()
        if spec.background_index is not None:
            scores[:, spec.background_index] = -np.inf
        return float(np.mean(scores.argmax(axis=-1) == truth[spec.name]))

    def _singly(self, count: int) -> Iterator[np.ndarray]:
        for number, tensor in enumerate(self.checks.in_order(1)):
            if number == count:
                return
            yield tensor


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
