"""One run of quantization-aware training from bridged network to best file. Importing this module imports TensorFlow."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import edge
from edge.artefact import graph, graph_facts
from edge.artefact.container import pack
from edge.artefact.contract import Contract, Quantization
from edge.data.dataset import LabelledImages
from edge.files import atomic_write
from edge.progress import stage
from edge.runtime.preprocess import lookup_table
from edge.validation import headline
from edge.validation.reference import ReferenceOutputs
from edge.version import __version__

from .. import ptq
from ..calibrate.representative import RepresentativeDataset
from ..errors import BridgeError
from ..loading.source import Source
from ..quiet import import_tf_keras, quiet
from ..tflite.calibrated import Range
from . import bridge, compress, scheme, state
from . import heads as qat_heads
from . import parity as qat_parity
from . import report as qat_report
from . import tensors as qat_tensors
from .bridge import QUANTIZED_INPUT, Bridged
from .bridge_operations import listed
from .config import QatConfig
from .data import TrainingImages
from .export import Exporter
from .ranges import RangeTable
from .start import StartingPoint
from .train import Trainer, predictor

VARIANT = "int8-qat"
SCHEME = "int8 weights and activations, int32 biases, trained with fake quantization"
_PARITY_IMAGES = 200


class Run:
    """The network in its three forms (float, fake-quantized, converted) and the loop over epochs. ``rows``: one dict an epoch.

    post_training: the int8 file of post-training quantization, which training then starts from (`quantize.qat.start`).
    """

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
        post_training: bytes | None = None,
    ) -> None:
        self._post_training = post_training
        self.source, self.config, self.work, self.reference = source, config, work, reference
        self.validation, self.representative = validation, representative
        self._settings = state.describe(config, source, training, validation)
        with stage("rebuild the network for training"):
            self.bridged: Bridged = bridge.bridge(source.model)
        self.network = self.bridged.network
        self.places = qat_tensors.find(self.network)
        sizes = [math.prod(int(n) for n in tensor.shape[1:]) for tensor in listed(self.network.outputs)]
        self.images = TrainingImages.open(training, source.contract, sizes, augment=config.augment, seed=config.seed)
        self.checks = TrainingImages.open(validation, source.contract, sizes)
        self.headline = next((output.name for output in source.contract.outputs if output.is_classes), None)
        self.rows: list[dict[str, Any]] = []
        self._best: dict[str, Any] = {}
        self._start = 0

    def check_bridge(self, tensors: np.ndarray) -> None:
        """Compare the rebuilt network with the original on real images, and its outputs with the contract's by name."""
        with stage("compare it with the original"):
            bridge.check(self.bridged, tensors)
            answers = self.source.predict(tensors[:1])
            ours = listed(self.network(tensors[:1], training=False))
        for name, value in zip(self.source.output_names, ours, strict=True):
            apart = bridge.relative_difference(np.asarray(value)[0].reshape(-1), answers[name].reshape(-1))
            if apart > bridge.TOLERANCE:
                raise BridgeError(
                    f"output {name!r} of the rebuilt network differs from the original's by {apart:.1e} of the largest value"
                )
        self._prepare()

    def resume(self) -> None:
        """Take up the state of an interrupted run. Raises TrainingError if there is none, or it was made with other settings."""
        state.check(self.work, self._settings)
        arrays, meta = state.load(self.work)
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
        flatbuffer = (self.work / state.best_file(self._best["epoch"])).read_bytes()
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
            self.places = self.exporter.places
        self.teacher = qat_heads.teacher(self.network, self.places, self.images, config)
        if config.sparsity:
            compress.prune(self.network, config.sparsity)
        if config.clusters is not None:
            compress.cluster(self.network, config.clusters)
        start = StartingPoint(self._post_training, self.exporter) if self._post_training is not None else None
        if start is not None and not (config.sparsity or config.clusters):
            start.adopt()
        self.table = RangeTable(self.places)
        with stage("set the first ranges"):
            self._set_ranges({} if start is None else start.ranges())
        with stage("build the fake-quantized network"):
            self.quantized = scheme.quantize_network(self.network, self.places, self.table, per_channel=config.per_channel)
        heads = qat_heads.heads(self.source, self.network, self.places, self.images, config)
        wiring = scheme.wiring(self.quantized)
        taps = [wiring[head.layer][0 if head.squashed else 1] for head in heads]
        steps, labelled = config.epochs * self.images.steps(config.batch_size), any(head.has_truth for head in heads)
        keep = compress.keeper(self.network, self.quantized, sparsity=config.sparsity, clusters=config.clusters)
        self.trainer = Trainer(
            self.quantized,
            taps,
            heads,
            self.images,
            table=self.table,
            steps=steps,
            frozen_from=round(config.frozen_share(labelled=labelled) * steps),
            learning_rate=config.rate(labelled=labelled),
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

    def _set_ranges(self, chosen: Mapping[str, Range]) -> None:
        """Set what a batch's extremes are on average, and as ranges the chosen ones; where none is chosen, the extremes of all images."""
        names = [place.layer for place in self.places.observed]
        low, high = self._extremes(names)
        size = min(self.config.batch_size, len(low))
        batches = [slice(i, i + size) for i in range(0, len(low) - size + 1, size)]
        low_mean = np.mean([low[batch].min(axis=0) for batch in batches], axis=0)
        high_mean = np.mean([high[batch].max(axis=0) for batch in batches], axis=0)
        table = lookup_table(self.source.contract.input)
        pixels = (float(table.min()), float(table.max()))
        ordinary = zip(names, low_mean.tolist(), high_mean.tolist(), strict=True)
        self.table.set_observed({name: (a, b) for name, a, b in ordinary} | {QUANTIZED_INPUT: pixels})
        widest = dict(zip(names, zip(low.min(axis=0).tolist(), high.max(axis=0).tolist(), strict=True), strict=True))
        self.table.set_chosen({**widest, **{name: chosen[name] for name in names if name in chosen}, QUANTIZED_INPUT: pixels})

    def _extremes(self, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and the largest value of layers' outputs for each representative image, both (images, layers)."""
        taps = [self.network.get_layer(name).output for name in names]
        model = import_tf_keras().Model(self.network.input, taps)

        def extremes(tensor: Any) -> Any:
            values = listed(model(tensor, training=False))
            return tf.stack([tf.reduce_min(v) for v in values]), tf.stack([tf.reduce_max(v) for v in values])

        traced = tf.function(extremes, autograph=False)
        with quiet():
            found = [traced(tf.constant(tensor)) for tensor in self._calibrating()]
        return np.array([low for low, _ in found]), np.array([high for _, high in found])

    def _evaluate(self, epoch: int, loss: float | None, started: float) -> None:
        """Convert, validate the converted file, and remember it where it is the best so far."""
        scheme.strip(self.quantized, self.network)
        with stage(f"epoch {epoch}: convert"):
            raw = self.exporter.int8(self.table.read(), io=self.config.io, per_channel=self.config.per_channel)
        finished = ptq.assemble(raw, self._contract())
        ptq.check(graph.read(finished), variant="int8", io=self.config.io, runtime=None)
        path = self.work / state.EPOCH
        atomic_write(path, pack(finished, self._contract()))
        with stage(f"epoch {epoch}: validate"):
            report = edge.validate(path, self.validation, reference=self.reference, diagnose="never").to_dict()
            simulated = self._outputs(self._predict_quantized)
            scores = {"float": self._scores(self._outputs(self._predict_float)), "fake_quantized": self._scores(simulated)}
            parity = qat_parity.compare(finished, simulated, self._singly(_PARITY_IMAGES), headline=self.headline)
        if not parity.close:
            image = next(itertools.islice(self.checks.in_order(1), parity.apart, None))
            where = qat_parity.first_divergence(raw, self.exporter.tensor_of, self.quantized, self.table, self.places, image)
            moves = qat_parity.sensitivity(finished, self._predict_quantized, self.source.output_names, image)
            parity = dataclasses.replace(parity, diverges=where, moves=moves)
        leading = self.headline or self.source.output_names[0]
        row = qat_report.row(epoch, loss, scores, report, time.monotonic() - started, leading=leading)
        row["parity"] = parity.to_dict()
        self.rows.append(row)
        if not self._best or row["merit"] > self._best["merit"]:
            atomic_write(self.work / state.best_file(epoch), finished)
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
            state.save(self.work, self.trainer.arrays(), meta)
            state.remove_others(self.work, state.best_file(self._best["epoch"]))

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

    def _outputs(self, predict: Any) -> dict[str, np.ndarray]:
        """The network's outputs by name: `check_bridge` saw that their order is the source's."""
        chunks = [predict(tensors) for tensors in self.checks.in_order(self.config.batch_size)]
        return {name: np.concatenate(parts) for name, *parts in zip(self.source.output_names, *chunks, strict=True)}

    def _scores(self, outputs: Mapping[str, np.ndarray]) -> dict[str, float | None]:
        """The figure (`edge.validation.headline`) of each output by name."""
        specs = self.source.contract.outputs
        return {s.name: headline.of_values(s, outputs[s.name], self.checks.truth.get(s.name)) for s in specs}

    def _singly(self, count: int) -> Iterator[np.ndarray]:
        for number, tensor in enumerate(self.checks.in_order(1)):
            if number == count:
                return
            yield tensor
