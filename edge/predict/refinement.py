"""Refines predictions by runs that were measured on a board: measured over predicted, per board and way of running.

The file is ``$XDG_STATE_HOME/edgekit/calibration.json`` (``~/.local/state`` where that is not set). It holds times, the models'
SHA-256 and what the boards call themselves; no picture, no path and no host name.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from devices import jsontext, origin
from devices.boards import detect
from devices.boards.records import BoardProfile
from devices.op_list import Network
from devices.predict import core_costs, latency, op_work
from devices.predict.fit import BoardFit

from ..errors import UsageError
from ..files import atomic_write_text

_VERSION = 2
# What a second measurement of the same model on the same board may differ by: temperature, other work.
_SAME_MODEL_SPREAD = 1.15
_SAME_CLOCK_MHZ = 20
_ARM = frozenset({"aarch64", "arm64", "armv6l", "armv7l", "armv8l"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measured run and what was predicted for it. ``host`` is what the board calls itself, None where it did not say.

    ``threads``: of the CPU (on an Edge TPU None where it did not say). ``clock_mhz``: which of the board's clocks this one runs
    at, None where nobody knows or the board has one only.
    """

    model_sha256: str
    threads: int | None
    measured_ms: float
    predicted_ms: float
    host: str | None
    clock_mhz: int | None = None

    @property
    def ratio(self) -> float:
        return self.measured_ms / self.predicted_ms


Known = Mapping[str, Sequence[Run]]


def default_path() -> Path:
    """Return where calibrations are kept on this machine."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(state) / "edgekit" / "calibration.json"


def load(path: Path | None = None) -> dict[str, list[Run]]:
    """Return what is known: key of board and way -> runs. Raises UsageError if the file is unreadable."""
    path = path or default_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        data = jsontext.loads(text)
        entries = {str(key): [Run(**run) for run in runs] for key, runs in data["entries"].items()}
        if data["schema_version"] != _VERSION or not all(0 < run.ratio < 1e6 for runs in entries.values() for run in runs):
            raise ValueError("unknown version or ratio")
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise UsageError(f"{path}: is no calibration that this edgekit reads; delete it and measure again") from error
    return entries


def learn(
    network: Network,
    found: BoardFit,
    benchmark: Mapping[str, Any],
    *,
    board: BoardProfile,
    model_sha256: str,
    path: Path | None = None,
) -> Run:
    """Keep how the measured run of ``benchmark`` (the JSON of ``edgekit benchmark`` on that board) relates to the prediction.

    board: the one that ``found`` is about. model_sha256: of the model that was predicted; on an Edge TPU the measured file is
    another one, compiled from it. A run replaces an earlier one of the same model with the same threads on the same host. Raises
    UsageError if there is nothing to compare with, or if the measurement is of another kind of board or another way of running.
    """
    try:
        measured = float(benchmark["p50_ms"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError("the measurement has no p50_ms: give the JSON of edgekit benchmark") from error
    if not 0 < measured < 1e9:
        raise UsageError(f"the measurement says {measured} ms for one run")
    if found.latency is None:
        raise UsageError(f"{found.board}: there is no prediction that a measurement could refine")
    host = _check(board, found, benchmark)
    threads = benchmark.get("threads")
    run = Run(
        model_sha256=model_sha256,
        threads=(threads if isinstance(threads, int) else None) if found.tpu else found.threads,
        measured_ms=measured,
        predicted_ms=found.latency.expected,
        host=host,
        clock_mhz=measured_clock(board, benchmark),
    )
    path = path or default_path()
    entries, key = load(path), _key(network, found, on_tpu=found.tpu is not None)
    same = (run.model_sha256, run.threads, run.host)
    kept = [old for old in entries.get(key, []) if (old.model_sha256, old.threads, old.host) != same]
    entries[key] = [*kept, run]
    data = {"schema_version": _VERSION, "entries": {name: [asdict(item) for item in runs] for name, runs in entries.items()}}
    atomic_write_text(path, json.dumps(data, indent=1, sort_keys=True) + "\n")
    return run


def apply(known: Known, network: Network, found: BoardFit, *, model_sha256: str) -> BoardFit:
    """Return ``found`` with its latencies refined by what was measured on that board in the same ways of running.

    A run on the CPU speaks for its own number of threads only: how much more of them help is what the prediction is least sure of.
    """
    on_cpu = known.get(_key(network, found, on_tpu=False), ())
    same = [run for run in on_cpu if run.threads == found.threads]
    cpu = _refined(found.cpu, same, model_sha256)
    if cpu is not None and on_cpu and not same:
        counts = " and ".join(sorted({str(run.threads or "an unknown number of") for run in on_cpu}))
        cpu = replace(cpu, basis=f"{cpu.basis}; runs with {counts} thread(s) were measured, which say nothing of {found.threads}")
    if same:  # the board was measured as it is: what others of its kind do is no question any more
        found = replace(found, boosted=None, findings=tuple(finding for finding in found.findings if finding.check != "clock"))
    if found.tpu is None:
        return replace(found, cpu=cpu)
    on_tpu = _refined(found.tpu.latency, known.get(_key(network, found, on_tpu=True), ()), model_sha256)
    return replace(found, cpu=cpu, tpu=replace(found.tpu, latency=on_tpu))


def _refined(estimate: latency.Latency | None, runs: Sequence[Run], model_sha256: str) -> latency.Latency | None:
    if estimate is None or not runs:
        return estimate
    same = [run for run in runs if run.model_sha256 == model_sha256]
    chosen = same or runs
    ratio = math.exp(sum(math.log(run.ratio) for run in chosen) / len(chosen))
    last = chosen[-1]
    where = last.host or "this board"
    if same:
        basis = f"measured on {where}: {last.measured_ms:.1f} ms for this very model"
        return latency.calibrated(estimate, ratio, basis, spread=_SAME_MODEL_SPREAD)
    others = f"{len(chosen)} other model{'' if len(chosen) == 1 else 's'}"
    return latency.calibrated(estimate, ratio, f"refined by {others} measured on {where} ({ratio:.2f} x the prediction)")


def _check(board: BoardProfile, found: BoardFit, benchmark: Mapping[str, Any]) -> str | None:
    """Return what the measured machine calls itself. Raises UsageError if it is not ``board``, or its time not the board's."""
    if origin.of_report(benchmark).emulated:
        raise UsageError(
            f"the measurement is of {origin.of_report(benchmark)}, which is no board's speed: measure on the board itself"
        )
    if benchmark.get("quotable") is False:
        reasons = "; ".join(str(reason) for reason in benchmark.get("not_quotable_because", ()))
        raise UsageError(f"the measurement is not this board's speed ({reasons}): measure again")
    machine = benchmark.get("machine")
    if isinstance(machine, str) and board.arch is not None and (machine in _ARM) != (board.arch.value in _ARM):
        raise UsageError(f"the measurement is from {machine}, and {board.title} is {board.arch.value}: measure on the board")
    about = benchmark.get("host")
    host = about.get("processor") if isinstance(about, Mapping) else None
    host = host if isinstance(host, str) and host else None
    named = host is None or board.device_tree is None or detect.is_called(board, host)
    other = None if named else detect.profile_name(host or "", "")
    if other is not None and other != board.name:
        raise UsageError(f"the measurement is from {host!r}, which is {other}: give --board {other}")
    runtime = benchmark.get("runtime")
    delegate = str(runtime.get("delegate", "")) if isinstance(runtime, Mapping) else ""
    if delegate and ("edgetpu" in delegate) != (found.tpu is not None):
        ran, asked = ("an Edge TPU", "the CPU") if "edgetpu" in delegate else ("the CPU", "an Edge TPU")
        raise UsageError(f"the measurement ran on {ran}, and the prediction is for {asked}: leave out or add --accelerator")
    return host


def measured_clock(board: BoardProfile, benchmark: Mapping[str, Any]) -> int | None:
    """Return which of the clocks of ``board`` the measured one runs at, by its governor's maximum; None where it has one only."""
    thermal = benchmark.get("thermal")
    found = thermal.get("clock_max_mhz") if isinstance(thermal, Mapping) else None
    clocks = latency.clocks_mhz(board)
    if len(clocks) < 2 or not isinstance(found, int | float) or isinstance(found, bool):
        return None
    return next((clock for clock in clocks if abs(clock - found) <= _SAME_CLOCK_MHZ), None)


def clock_of(known: Known, board: BoardProfile) -> int | None:
    """Return the clock at which the last stored run on the CPU of ``board`` was measured; None if none says."""
    runs = [run for key, found in known.items() if key.startswith(f"{board.name}/") for run in found]
    return next((run.clock_mhz for run in reversed(runs) if run.clock_mhz is not None), None)


def _key(network: Network, found: BoardFit, *, on_tpu: bool) -> str:
    """Board, Edge TPU or kind of arithmetic: what makes one ratio hold for another model."""
    if on_tpu:
        return f"{found.board}/{found.accelerator or 'own'}"
    heaviest = max(network.ops, key=lambda op: op.macs, default=None)
    return f"{found.board}/cpu/{op_work.kind(heaviest) if heaviest else core_costs.INT8}"
