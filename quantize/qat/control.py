"""The float control: the same network, images, losses and learning rates as quantization-aware training, without fake quantization.

Fine-tuning alone moves the accuracy. What fake quantization itself gains is the difference to this network after as many epochs,
quantized after training. Importing this module imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math

from edge.data.dataset import LabelledImages
from edge.progress import stage

from ..loading.source import Source
from . import bridge, compress, export, tensors
from . import heads as qat_heads
from .config import QatConfig
from .data import TrainingImages
from .train import Trainer


class FloatControl:
    """``network``: the float network as it is after ``epochs`` epochs of the schedule of ``config``."""

    def __init__(self, source: Source, training: LabelledImages, config: QatConfig) -> None:
        self._source = source
        with stage("rebuild the network for the float control"):
            self.network = bridge.bridge(source.model).network
        places = tensors.find(self.network)
        sizes = [math.prod(int(n) for n in tensor.shape[1:]) for tensor in self.network.outputs]
        images = TrainingImages.open(training, source.contract, sizes, augment=config.augment, seed=config.seed)
        teacher = qat_heads.teacher(self.network, places, images, config)
        if config.sparsity:
            compress.prune(self.network, config.sparsity)
        if config.clusters is not None:
            compress.cluster(self.network, config.clusters)
        heads = qat_heads.heads(source, self.network, places, images, config)
        steps, labelled = config.epochs * images.steps(config.batch_size), any(head.has_truth for head in heads)
        self._trainer = Trainer(
            self.network,
            [qat_heads.tap(self.network, head.layer, head.squashed) for head in heads],
            heads,
            images,
            table=None,
            steps=steps,
            frozen_from=round(config.frozen_share(labelled=labelled) * steps),
            learning_rate=config.rate(labelled=labelled),
            batch_size=config.batch_size,
            after_step=compress.keeper(self.network, self.network, sparsity=config.sparsity, clusters=config.clusters),
        )
        self._trainer.teacher = teacher
        self.epochs = 0

    def train(self, epochs: int) -> None:
        """Go on until ``epochs`` epochs are done. Raises TrainingError when the loss is no number."""
        while self.epochs < epochs:
            self._trainer.epoch(self.epochs)
            self.epochs += 1

    def source(self) -> Source:
        """Return the network as it is now, as something that `ptq` quantizes and `reference_outputs` asks."""
        note = f"fine-tuned in float for {self.epochs} epochs after training, without fake quantization"
        contract = self._source.contract.replace(notes=(*self._source.contract.notes, note))
        return dataclasses.replace(export.rebuilt(self._source, self.network), contract=contract)
