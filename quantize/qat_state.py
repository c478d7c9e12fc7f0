"""The state of a training run on disk: complete or not there, whatever interrupts the writing."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import OutputError

from .errors import TrainingError

FILE = "state.npz"
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
        beside.unlink(missing_ok=True)


def load(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return (arrays, meta) of a saved state. Raises TrainingError if there is none or it is damaged."""
    path = folder / FILE
    if not path.exists():
        raise TrainingError(f"{path}: nothing to resume here; start without --resume, or give the --out of the interrupted run")
    try:
        with np.load(path, allow_pickle=False) as stored:
            meta = json.loads(bytes(stored[_META]))
            return {name: stored[name] for name in stored.files if name != _META}, meta
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path}: not an intact training state ({error}); start again without --resume") from error


def remove(folder: Path) -> None:
    """Delete the state of a finished run (three times the size of the weights)."""
    (folder / FILE).unlink(missing_ok=True)
