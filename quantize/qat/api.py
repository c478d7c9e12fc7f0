"""Quantization-aware training: a trained Keras network in, a full-integer int8 file that was trained as such out.

result = quantize.quantization_aware(source, "train/", "validation/", QatConfig(epochs=5), out="out/")
result.recommended        # the trained file, or the PTQ file where training did not pay
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import edge
from edge.artefact.contract import Contract
from edge.data.dataset import LabelledImages
from edge.files import atomic_write_text
from edge.progress import stage
from edge.runtime.preprocess import preprocess
from edge.validation import headline

from .. import ptq
from ..calibrate.representative import RepresentativeDataset
from ..errors import TrainingError
from ..loading import recurrent
from ..quiet import import_tensorflow
from ..reference import reference_outputs
from . import report as qat_report
from . import state
from .config import QatConfig
from .data import check_apart, write_list
from .report import recommend

if TYPE_CHECKING:
    from ..loading.source import Source

__all__ = ["QatConfig", "QatResult", "quantization_aware"]

CHECK_IMAGES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class QatResult:
    """What a run made. ``trained``: the file of the best epoch; ``ptq``: what post-training quantization makes of the same network.

    ``control``: the float network trained as long and quantized afterwards, where ``QatConfig.float_control`` asked for it.
    ``recommended`` is one of these paths, ``reason`` why in one sentence. ``record``: the rows of all epochs; row 0 is before
    training. ``reports``: the files' validation against float, paired, as `edge.validate` gives it. ``parity``: see `quantize.qat.parity`.
    """

    trained: Path
    ptq: Path
    control: Path | None
    recommended: Path
    reason: str
    best_epoch: int
    record: tuple[dict[str, Any], ...]
    reports: dict[str, dict[str, Any]]
    parity: dict[str, Any]
    record_file: Path
    plot_file: Path
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "trained": str(self.trained),
            "ptq": str(self.ptq),
            "control": None if self.control is None else str(self.control),
            "recommended": str(self.recommended),
            "reason": self.reason,
            "best_epoch": self.best_epoch,
            "epochs": list(self.record),
            "parity": self.parity,
            "comparison": {name: _short(report) for name, report in self.reports.items()},
            "record": str(self.record_file),
            "plot": str(self.plot_file),
            "seconds": round(self.seconds, 1),
        }


def quantization_aware(
    source: Source,
    train: str | Path | LabelledImages,
    validation: str | Path | LabelledImages,
    config: QatConfig | None = None,
    *,
    out: str | Path,
    resume: bool = False,
) -> QatResult:
    """Train ``source`` with fake quantization and write NAME.int8-qat.tflite, NAME.int8.tflite (PTQ) and the record to ``out``.

    train, validation: a folder (of classes, or flat), a manifest, or opened images; no image may be in both.
    resume: go on from the state that an interrupted run left in ``out``.

    Raises TrainingError (no layers to train, images in both sets, a loss that is no number, nothing to resume), BridgeError (a layer
    that cannot be rebuilt), and what loading images and converting raise. Ctrl-C saves the state first.
    """
    started = time.monotonic()
    config = config or QatConfig()
    if source.model is None:
        raise TrainingError(
            f"{source.name} is a bare SavedModel or graph: it has no layers to train; give the .keras or .h5 file it was exported from"
        )
    source.require_one_picture("quantization-aware training")
    if recurrent.layers(source.model):
        raise TrainingError(
            f"{source.name}: tensorflow-model-optimization cannot train recurrent layers ({', '.join(recurrent.layers(source.model))});"
            " use post-training quantization (edgekit quantize), with --keep-float lstm where int8 costs too much"
        )
    import_tensorflow()
    from .run import Run  # imports TensorFlow

    labels = next((output.labels for output in source.contract.outputs if output.is_classes), None)
    training = _open(train, labels, unlabelled=config.unlabelled or labels is None)
    checking = _open(validation, labels, unlabelled=labels is None)
    check_apart(training, checking)
    folder = Path(out)
    work = folder / f"{source.name}.qat"
    if resume:
        state.check(work, state.describe(config, source, training, checking))  # before minutes of work
    work.mkdir(parents=True, exist_ok=True)
    representative = RepresentativeDataset.open(
        _listing(train, training, work), source=source, count=config.representative, seed=config.seed
    )
    ptq_path = folder / f"{source.name}.int8.tflite"
    with stage("post-training quantization, to compare with"):
        options = ptq.PtqConfig(io=config.io, per_channel=config.per_channel, golden_samples=config.golden_samples)
        ptq.post_training(source, representative, "int8", config=options).save(ptq_path)
    reference = reference_outputs(source, checking, work / "reference.npz")
    run = Run(
        source=source,
        training=training,
        validation=checking,
        representative=representative,
        config=config,
        work=work,
        reference=reference,
        post_training=ptq_path.read_bytes(),
    )
    run.check_bridge(_few(checking, source.contract, CHECK_IMAGES))
    if resume:
        run.resume()
    run.train()
    artefact, best, parity = run.finish()
    rows = tuple(run.rows)
    trained = artefact.save(folder / f"{source.name}.int8-qat.tflite")
    files = {"ptq": ptq_path, "qat": trained}
    del run, artefact  # three networks and an optimizer
    if config.float_control and best > 0:
        files["control"] = _control(source, training, representative, config, options, best).save(
            folder / f"{source.name}.int8-control.tflite"
        )
    reports = {name: edge.validate(path, checking, reference=reference).to_dict() for name, path in files.items()}
    recommended, reason = recommend(reports, parity, best)
    record_file, plot_file = work / "record.json", work / "record.svg"
    result = QatResult(
        trained=trained,
        ptq=ptq_path,
        control=files.get("control"),
        recommended=files[recommended],
        reason=reason,
        best_epoch=best,
        record=rows,
        reports=reports,
        parity=parity,
        record_file=record_file,
        plot_file=plot_file,
        seconds=time.monotonic() - started,
    )
    atomic_write_text(record_file, json.dumps(result.to_dict(), indent=1) + "\n")
    figure, base = headline.of_report(reports["ptq"]["outputs"][rows[0]["output"]])
    title = f"{source.name}, {rows[0]['output']}: {headline.TITLES[figure]} on the validation images by epoch"
    atomic_write_text(plot_file, qat_report.plot(rows, base, title))
    state.remove(work)
    return result


def _control(
    source: Source,
    training: LabelledImages,
    representative: RepresentativeDataset,
    config: QatConfig,
    options: ptq.PtqConfig,
    epochs: int,
) -> ptq.Artefact:
    """Return the file of the float network after as many epochs as the best trained file has had."""
    from .control import FloatControl  # imports TensorFlow

    control = FloatControl(source, training, config)
    control.train(epochs)
    with stage("post-training quantization of the float control"):
        return ptq.post_training(control.source(), representative, "int8", config=options)


def _short(report: dict[str, Any]) -> dict[str, Any]:
    keys = (
        "images",
        "candidate",
        "reference",
        "drop",
        "agreement",
        "probability_shift",
        "outputs",
        "model_sha256",
        "dataset_sha256",
    )
    return {key: report[key] for key in keys}


def _open(images: Any, labels: tuple[str, ...] | None, *, unlabelled: bool) -> LabelledImages:
    return images if isinstance(images, LabelledImages) else LabelledImages.open(images, labels=labels, unlabelled=unlabelled)


def _listing(given: Any, training: LabelledImages, work: Path) -> Path:
    """Return what the representative images are chosen from: the folder or manifest given, or a list of the opened images."""
    return write_list(training, work / "train.csv") if isinstance(given, LabelledImages) else training.root


def _few(images: LabelledImages, contract: Contract, count: int) -> NDArray[np.float32]:
    return np.concatenate([preprocess(item.path, contract.input) for item in images.subset(count)])
