"""The state of a training run on disk: complete or not there, whatever interrupts the writing."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.data.dataset import LabelledImages
from edge.errors import OutputError
from edge.system import zips

from ..errors import TrainingError
from .config import QatConfig

if TYPE_CHECKING:
    from ..loading.source import Source

FILE = "state.npz"
EPOCH = "epoch.int8.tflite"
"""The converted file of the last epoch."""

_META = "meta"


def save(folder: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write arrays and ``meta`` (plain data) beside the old state and put them in its place. Raises OutputError."""
    target = folder / FILE
    beside = folder / f".{FILE}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as stream:
            np.savez(stream, allow_pickle=False, **{_META: np.frombuffer(json.dumps(meta).encode(), np.uint8)}, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, target)
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({error.strerror or error}); free some space or choose another --out"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def load(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return (arrays, meta) of a saved state. Raises TrainingError if there is none or it is damaged."""
    meta, arrays = _read(folder, arrays=True)
    return arrays, meta


def check(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise TrainingError unless there is an intact state of a run with the same ``settings`` (of ``describe``); reads little."""
    meta, _ = _read(folder, arrays=False)
    stored = meta.get("settings", {})
    for key, value in settings.items():
        if stored.get(key) != value:
            raise TrainingError(
                f"the interrupted run had {key} {stored.get(key)!r}, this one has {value!r}; give the same settings, or start again"
                " without --resume"
            )


def describe(config: QatConfig, source: Source, training: LabelledImages, validation: LabelledImages) -> dict[str, Any]:
    """Return, as plain data, everything that must be the same for a run to go on from a state."""
    ignored = ("golden_samples", "patience", "float_control")  # they change nothing in training
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in ignored}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    return plain | {"model": source.contract.source.sha256, "images": _names(training), "validation": _names(validation)}


def best_file(epoch: int) -> str:
    """Return the name of the best converted file so far: with its epoch, so that a state never points to another epoch's file."""
    return f"best-{epoch}.flatbuffer"


def remove(folder: Path) -> None:
    """Delete what only an interrupted run needs: the state (three times the size of the weights) and the files of its epochs."""
    for name in (FILE, EPOCH):
        (folder / name).unlink(missing_ok=True)
    remove_others(folder, "")


def remove_others(folder: Path, best: str) -> None:
    """Delete the best files of earlier epochs, all but ``best``; after the state that names ``best`` is written."""
    for path in folder.glob("best-*.flatbuffer"):
        if path.name != best:
            path.unlink(missing_ok=True)


def _read(folder: Path, *, arrays: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    path = folder / FILE
    if not path.exists():
        raise TrainingError(f"{path}: nothing to resume here; start without --resume, or give the --out of the interrupted run")
    try:
        with np.load(path, allow_pickle=False) as stored:
            meta = json.loads(bytes(stored[_META]))
            return meta, {name: stored[name] for name in stored.files if name != _META} if arrays else {}
    except zips.DAMAGED as error:
        raise TrainingError(f"{path}: not an intact training state ({error}); start again without --resume") from error


def _names(images: LabelledImages) -> str:
    """How many images, and a mark of which: their order decides what each step sees."""
    names = "\n".join(f"{item.id} {item.label} {item.targets}" for item in images)
    return f"{len(images)} ({hashlib.sha256(names.encode()).hexdigest()[:8]})"
