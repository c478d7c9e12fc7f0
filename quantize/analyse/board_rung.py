"""The last rung of the ladder: the file on a board, against the file here, on the same photos.

The board is reached through ``edgekit validate --on``: this package knows nothing about boards.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.progress import stage
from edge.system.child import module_command

from ..errors import BoardError, ConversionError
from .ladder import Rung
from .paired import Pairing

_FAILED = 3  # exit code: the board or the connection


def rung(
    target: str,
    file: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    images: str | os.PathLike[str],
    before: Rung,
    *,
    limit: int | None = None,
    flags: Sequence[str] = (),
) -> Rung:
    """Return the rung of ``target`` (local, [user@]host[:port] or virtual:NAME): its step is against ``file`` run here.

    before: the rung of ``file`` here; where the board gives the same bits its total holds, else the board is also paired with
    ``reference``. flags: more of ``validate --on``, as ``--ssh-config``. Raises BoardError, and ConversionError for wrong usage.
    """
    with stage(f"ladder: the file on {target}"):
        step = _validate(target, file, file, images, limit, flags)
        same = step.agreement == 1.0 and step.error == 0.0
        total = before.total if same else _validate(target, file, reference, images, limit, flags)
    return Rung(name=f"the file, on {target}", step=step, total=total)


def _validate(
    target: str,
    file: str | os.PathLike[str],
    against: str | os.PathLike[str],
    images: str | os.PathLike[str],
    limit: int | None,
    flags: Sequence[str],
) -> Pairing:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        report = Path(folder) / "report.json"
        command = module_command("edge", "validate", os.fspath(file), "--images", os.fspath(images))
        command += ["--reference", os.fspath(against), "--on", target, "--json", str(report), *flags]
        command += [] if limit is None else ["--limit", str(limit)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode not in (0, 1) or not report.exists():
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1].rpartition("error: ")[2]
            raise (BoardError if done.returncode == _FAILED else ConversionError)(f"explain on {target}: {said}")
        return pairing(json.loads(report.read_text()))


def pairing(report: dict[str, Any]) -> Pairing:
    """Return what a report of ``validate --json`` says about candidate and reference. Raises ConversionError without classes."""
    if report.get("agreement") is None or report.get("probability_shift") is None:
        raise ConversionError("a rung on a board needs an output with classes; leave --on out")
    images, agreement, error = int(report["images"]), float(report["agreement"]), float(report["probability_shift"])
    drop = report.get("drop")
    if not drop or drop.get("top1") is None:
        return Pairing(images=images, agreement=agreement, error=error)
    lost, won = (len(drop[name]) if isinstance(drop[name], list) else int(drop[name]) for name in ("flips_lost", "flips_won"))
    return Pairing(
        images=images,
        agreement=agreement,
        error=error,
        top1=float(report["candidate"]["top1"]),
        drop=float(drop["top1"]),
        ci95=(float(drop["ci95"][0]), float(drop["ci95"][1])),
        lost=lost,
        won=won,
        p_value=float(drop["p_value"]),
    )
