"""A structurally smaller network within a budget: search, repair, mimicry, verdict.

result = quantize.shrink(source, "train/", "validation/", ShrinkConfig(speedup=2.0), out="out/")
result.network      # NAME.shrunk.keras: plain Keras, for whatever comes next
result.int8         # NAME.shrunk.int8.tflite: for the board
result.verdict      # pass, fail or undecided
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.artefact.contract import Lineage, Provenance
from edge.data.dataset import LabelledImages
from edge.errors import UsageError
from edge.files import atomic_write, atomic_write_text, sha256_file
from edge.progress import stage

from .. import ptq
from ..calibrate.representative import RepresentativeDataset
from ..errors import TrainingError
from ..loading import keras_files
from ..qat import state
from ..qat.data import check_apart
from ..quiet import import_tensorflow
from . import record, verdict
from .config import ShrinkConfig
from .pictures import batches, divide
from .verdict import Verdict

if TYPE_CHECKING:
    from ..loading.source import Source
    from .distil import Mimicry
    from .making import Candidate, Workshop
    from .search import Search

__all__ = ["ShrinkConfig", "ShrinkResult", "shrink"]

_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkResult:
    """What a run made. ``network``: plain Keras. ``int8``: its int8 file. ``report``: all that was found, as in ``record_file``.

    ``verdict``: ``pass``, ``fail`` or ``undecided``: whether what is lost on the validation photos is within ``max_drop``.
    """

    network: Path
    int8: Path
    verdict: str
    report: dict[str, Any]
    record_file: Path
    plot_file: Path

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return self.report


def shrink(
    source: Source,
    images: str | Path | LabelledImages,
    validation: str | Path | LabelledImages,
    config: ShrinkConfig | None = None,
    *,
    out: str | Path,
    resume: bool = False,
) -> ShrinkResult:
    """Make ``source`` smaller and write NAME.shrunk.keras, NAME.shrunk.int8.tflite, and NAME.shrunk/record.json with a plot, to ``out``.

    images: photos to rank, repair, train and choose with; their labels are not looked at. validation: labelled photos for
    the verdict, none of ``images``; without labels the verdict is ``undecided``. Each is a folder, a manifest, or opened images.
    resume: go on where an interrupted run of the same settings stopped.

    Raises ConversionError (nothing in the network can be removed), UsageError (a budget that is out of reach, with the nearest that is
    not), TrainingError (photos in both sets, nothing to resume, no layers), and what loading photos and converting raise.
    """
    started = time.monotonic()
    config = config or ShrinkConfig()
    if source.model is None:
        raise TrainingError(
            f"{source.name} is a bare SavedModel or graph: it has no layers to take out; give the .keras or .h5 file it was exported from"
        )
    source.require_one_picture("shrinking")
    import_tensorflow()
    from .structure import look as looked

    looked(source.model)  # what cannot be shrunk is refused before a photo is read
    labels = next((output.labels for output in source.contract.outputs if output.is_classes), None)
    given = images if isinstance(images, LabelledImages) else LabelledImages.open(images, unlabelled=True)
    checking = (
        validation
        if isinstance(validation, LabelledImages)
        else LabelledImages.open(validation, labels=labels, unlabelled=labels is None)
    )
    check_apart(given, checking)
    predict = _predictor(config)
    folder = Path(out)
    work = folder / f"{source.name}.shrunk"
    settings = describe(config, source, given)
    if resume:
        _check_resumable(work, settings)
    else:
        _forget(work)
    work.mkdir(parents=True, exist_ok=True)
    run = _Run(source, given, config, work, settings, predict)
    candidate = run.search.find()
    looked_seconds = run.search.seconds
    shrunk, mimicry = run.train(candidate)
    finished = run.finish(candidate, shrunk, mimicry, folder)
    found = run.judge(checking, finished)
    report = run.report(candidate, mimicry, finished, found, looked_seconds, time.monotonic() - started)
    record_file, plot_file = work / "record.json", work / "record.svg"
    atomic_write_text(record_file, json.dumps(report, indent=1) + "\n")
    atomic_write_text(plot_file, record.plot(report))
    _forget(work)
    return ShrinkResult(
        network=finished.network,
        int8=finished.int8,
        verdict=found.verdict,
        report=report,
        record_file=record_file,
        plot_file=plot_file,
    )


def describe(config: ShrinkConfig, source: Source, images: LabelledImages) -> dict[str, Any]:
    """Return, as plain data, everything that must be the same for a run to go on."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()}
    photos = hashlib.sha256("\n".join(item.id for item in images).encode()).hexdigest()[:8]
    return plain | {"model": source.contract.source.sha256, "images": f"{len(images)} ({photos})"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finished:
    network: Path
    int8: Path
    artefact: ptq.Artefact
    shrunk: Source
    sha256: str


class _Run:
    """The parts of a run, and what they share."""

    def __init__(
        self,
        source: Source,
        images: LabelledImages,
        config: ShrinkConfig,
        work: Path,
        settings: dict[str, Any],
        predict: Callable[[bytes], float] | None,
    ) -> None:
        from . import networks
        from .answers import Judge
        from .cost import Law
        from .making import Workshop
        from .search import Search

        self.source, self.config, self.work, self.settings = source, config, work, settings
        self.parts = divide(images)
        with stage("the original's answers"):
            few = self.parts.choice
            self.judging = Judge.of(source.contract.outputs, networks.answers(source, batches(few, source.contract, _BATCH)))
        self.workshop: Workshop = Workshop(source, self.parts, self.judging, config, work, predict)
        self.search: Search = Search(self.workshop, config, work, settings, Law.of(_board(config)))

    def train(self, candidate: Candidate) -> tuple[Source, Mimicry | None]:
        """Return the chosen network, trained where that was asked for."""
        from .distil import Mimicry

        with stage(f"build the chosen network: {candidate.name}"):
            shrunk = self.search.network(candidate)
        if not self.config.training:
            return shrunk, None
        mimicry = Mimicry(
            self.source,
            shrunk,
            self.parts.learning,
            self.parts.choice,
            self.judging,
            self.config,
            self.work,
            {**self.settings, "cut": candidate.name},
        )
        mimicry.resume()
        mimicry.train(self.search.training_seconds())
        return shrunk, mimicry

    def finish(self, candidate: Candidate, shrunk: Source, mimicry: Mimicry | None, folder: Path) -> _Finished:
        """Write the network and its int8 file."""
        name = f"{self.source.name}.shrunk"
        network = folder / f"{name}.keras"
        with stage("save the network"):
            keras_files.save(shrunk.model, network)
        sha256 = sha256_file(network)
        before = self.source.contract
        cut = candidate.cut
        counts = {group.name: group.count for group in self.search.structure.channels}
        lineage = Lineage(
            file=before.source.file,
            sha256=before.source.sha256,
            parameters=before.source.parameters,
            height=before.input.height,
            width=before.input.width,
            blocks=tuple(block.name for block in self.search.structure.blocks if block.name in cut.blocks),
            channels=tuple((key, len(kept), counts[key]) for key, kept in cut.kept.items()),
            training_s=0.0 if mimicry is None else round(mimicry.seconds, 1),
        )
        provenance = Provenance(
            file=network.name,
            sha256=sha256,
            format="keras",
            architecture=before.source.architecture,
            parameters=int(shrunk.model.count_params()),
            tools=before.source.tools,
        )
        contract = shrunk.contract.replace(name=name, source=provenance, lineage=(*before.lineage, lineage))
        shrunk = dataclasses.replace(shrunk, name=name, contract=contract)
        representative = RepresentativeDataset.from_folder(
            self.workshop.listing, count=self.config.representative, contract=contract, seed=self.config.seed
        )
        artefact = ptq.post_training(shrunk, representative, "int8", config=ptq.PtqConfig(io=self.config.io))
        int8 = folder / artefact.filename
        atomic_write(int8, artefact.data)
        return _Finished(network=network, int8=int8, artefact=artefact, shrunk=shrunk, sha256=sha256)

    def judge(self, images: LabelledImages, finished: _Finished) -> Verdict:
        """Return the verdict on the int8 file."""
        import numpy as np

        from ..calibrate import activations
        from . import networks

        look = verdict.look_number(self.work, images, hashlib.sha256(finished.artefact.data).hexdigest())
        with stage(f"both on {len(images)} validation photos"):
            original = networks.answers(self.source, batches(images, self.source.contract, _BATCH))
            found = activations.run(finished.artefact.data, batches(images, finished.shrunk.contract, 1))
        shrunk = {name: np.stack([row[name] for row in found]).reshape(values.shape) for name, values in original.items()}
        return verdict.judge(self.source.contract, images, original, shrunk, max_drop=self.config.max_drop, look=look)

    def report(
        self, candidate: Candidate, mimicry: Mimicry | None, finished: _Finished, found: Verdict, looked: float, seconds: float
    ) -> dict[str, Any]:
        """Return all that was found, as plain data."""
        from . import cost
        from .making import cut_to_dict
        from .search import front

        workshop, structure = self.workshop, self.search.structure
        training = {"seconds": 0.0, "looks": [], "best": None}
        if mimicry is not None:
            training = {
                "seconds": round(mimicry.seconds, 1),
                "looks": [look.to_dict() for look in mimicry.looks],
                "best": mimicry.best.to_dict(),
            }
        here = workshop.ms_of(finished.artefact.data)
        return {
            "schema_version": 1,
            "name": self.source.name,
            "network": str(finished.network),
            "int8": str(finished.int8),
            "config": {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self.config).items()},
            "where": self.search.law.where,
            "timed": f"predicted for {self.config.board}" if self.config.board else "measured here, one thread",
            "choice": len(self.parts.choice),
            "learning": len(self.parts.learning),
            "original": {
                "name": self.source.name,
                "sha256": self.source.contract.source.sha256,
                "ms": workshop.ms,
                "bytes": workshop.bytes,
                "macs": cost.macs(cost.layers(self.source.model)),
                "int8": workshop.int8_look.to_dict(),
            },
            "structure": {
                "blocks": [block.name for block in structure.blocks],
                "channels": {group.name: group.count for group in structure.channels},
            },
            "ranking": [removal.to_dict() for removal in self.search.ranking()],
            "candidates": [each.to_dict() for each in self.search.candidates],
            "front": [each.name for each in front(self.search.candidates)],
            "chosen": candidate.name,
            "lineage": [dataclasses.asdict(each) for each in finished.artefact.contract.lineage],
            "training": training,
            "shrunk": {
                "name": candidate.name,
                "sha256": finished.sha256,
                "int8_sha256": finished.artefact.contract.model_sha256,
                "ms": here,
                "bytes": len(finished.artefact.data),
                "macs": cost.macs(cost.layers(finished.shrunk.model)),
                "cut": cut_to_dict(candidate.cut),
                "int8": workshop.look_int8(finished.shrunk, finished.artefact.data).to_dict(),
            },
            "validation": found.to_dict(),
            "verdict": found.verdict,
            "search_seconds": round(looked, 1),
            "seconds": round(seconds, 1),
        }


def _board(config: ShrinkConfig) -> Any:
    from devices.boards import board_files, profiles
    from devices.errors import DeviceError

    if not config.board:
        return None
    try:
        return profiles.board(config.board, board_files.read())
    except DeviceError as error:
        raise UsageError(str(error)) from error


def _predictor(config: ShrinkConfig) -> Callable[[bytes], float] | None:
    from ..analyse import tune

    board = _board(config)
    return None if board is None else tune.predictor(board)


def _check_resumable(work: Path, settings: dict[str, Any]) -> None:
    from .search import FILE

    path = work / FILE
    if not path.exists():
        raise TrainingError(f"{path}: nothing to resume here; start without --resume, or give the --out of the interrupted run")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: not the state of a search ({error}); start again without --resume") from error
    for key, value in settings.items():
        if stored.get(key) != value:
            raise TrainingError(
                f"the interrupted run had {key} {stored.get(key)!r}, this one has {value!r}; give the same settings, or start again"
                " without --resume"
            )


def _forget(work: Path) -> None:
    """Remove what an earlier run would be resumed from; that it looked at the validation photos stays known."""
    from .making import ORIGINAL
    from .search import FILE

    for name in (FILE, state.FILE, ORIGINAL):
        (work / name).unlink(missing_ok=True)
