"""Refines predictions by runs that were measured on a board: the ratio of measured to predicted, per board and way of running.

The file is ``$XDG_STATE_HOME/edgekit/calibration.json`` (``~/.local/state`` where that is not set). It holds ratios and where
they are from, no picture and no path.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from devices import latency
from devices.fit import BoardFit
from devices.network import Network

from .errors import UsageError
from .files import atomic_write_text

_VERSION = 1


def default_path() -> Path:
    """Return where calibrations are kept on this machine."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(state) / "edgekit" / "calibration.json"


def load(path: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return what is known: key of board and way -> ratio and source. Raises UsageError if the file is unreadable."""
    path = path or default_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        data = json.loads(text)
        entries = {str(key): {**entry, "ratio": float(entry["ratio"])} for key, entry in data["entries"].items()}
        if data["schema_version"] != _VERSION or any(not 0 < entry["ratio"] < 1e6 for entry in entries.values()):
            raise ValueError("unknown version or ratio")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: is no calibration that this edgekit reads; delete it and measure again") from error
    return entries


def learn(network: Network, found: BoardFit, benchmark: Mapping[str, Any], *, path: Path | None = None) -> float:
    """Store how the measured run of ``benchmark`` (the JSON of ``edgekit benchmark`` on that board) relates to the prediction.

    Returns the ratio. Raises UsageError if there is nothing to compare with: another model, or a board without prediction.
    """
    try:
        measured, model = float(benchmark["p50_ms"]), str(benchmark["model_sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError("the measurement has no p50_ms and model_sha256: give the JSON of edgekit benchmark") from error
    if not 0 < measured < 1e9:
        raise UsageError(f"the measurement says {measured} ms for one run")
    if found.latency is None:
        raise UsageError(f"{found.board}: there is no prediction that a measurement could refine")
    ratio = measured / found.latency.expected
    path = path or default_path()
    entries = load(path)
    entries[_key(network, found)] = {"ratio": ratio, "measured_ms": measured, "model_sha256": model}
    atomic_write_text(path, json.dumps({"schema_version": _VERSION, "entries": entries}, indent=1, sort_keys=True) + "\n")
    return ratio


def apply(known: Mapping[str, Mapping[str, Any]], network: Network, found: BoardFit) -> BoardFit:
    """Return ``found`` with its latency refined by what was measured on that board in the same way of running."""
    entry = known.get(_key(network, found))
    if entry is None or found.latency is None:
        return found
    ratio = float(entry["ratio"])
    basis = f"refined by a run of {entry['measured_ms']:.1f} ms measured on this board (model {str(entry['model_sha256'])[:12]})"
    refined = latency.calibrated(found.latency, ratio, basis)
    if found.tpu is not None:
        return replace(found, tpu=replace(found.tpu, latency=refined))
    return replace(found, cpu=refined)


def _key(network: Network, found: BoardFit) -> str:
    """Board, Edge TPU or kind of arithmetic: what makes one ratio hold for another model."""
    if found.tpu is not None:
        return f"{found.board}/{found.accelerator or 'own'}"
    heaviest = max(network.ops, key=lambda op: op.macs, default=None)
    return f"{found.board}/cpu/{latency.kind(heaviest) if heaviest else latency.INT8}"
