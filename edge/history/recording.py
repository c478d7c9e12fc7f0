"""Remembers runs: called once, by the root command, after a command's work is done and its answer is out.

Whatever is wrong with the history (locked, spoilt, read-only, no home folder), the work keeps its answer and its exit code; one
line of warning says what is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

NO_STORE = "none"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--store``."""
    parser.add_argument(
        "--store",
        metavar="FILE",
        help="the history that remembers this run (default: see edgekit runs --help); none: it is not remembered",
    )


def record(
    args: argparse.Namespace,
    argv: Sequence[str],
    exit_code: int,
    *,
    seconds: float,
    error: Exception | None = None,
    by_default: bool = True,
) -> None:
    """Remember the run of ``argv``, if it came to an answer (``args.report``) or a board failed. Never raises.

    by_default: remember it even where no ``--store`` is given.
    """
    report = getattr(args, "report", None)
    place = getattr(args, "store", None)
    if place == NO_STORE or (place is None and not by_default) or (report is None and error is None):
        return
    if getattr(args, "plan", False):  # a sum done, no work
        return
    # Anything may be wrong with a file that was left behind, and nothing of it is worth the answer of an hour's work.
    try:
        _record(args, argv, exit_code, report, seconds, error, place)
    except Exception as problem:
        text = " ".join(str(problem).split()) or type(problem).__name__
        print(f"edgekit: warning: this run is not in the history: {text}", file=sys.stderr)


def _record(
    args: argparse.Namespace,
    argv: Sequence[str],
    exit_code: int,
    report: Mapping[str, Any] | None,
    seconds: float,
    error: Exception | None,
    place: str | None,
) -> None:
    # Here, as each command's --help imports this module: 39 ms of processor time, median of 10 fresh processes.
    from ..bench import host
    from . import record as run_record
    from . import store as runstore

    store = runstore.RunStore(place)
    command = argv[0]
    versions, machine = run_record.versions(command), host.describe()
    now = runstore.iso(datetime.now(UTC))
    for part in [None] if report is None else list(run_record.split(report)):
        artefacts = () if part is None else run_record.artefacts_of(part, read=True)
        # One of several boards may have failed alone.
        said = error if part is None or error is not None else part.get("error")
        store.add(
            run_record.Run(
                id=None,
                time=now,
                command=command,
                arguments=tuple(argv),
                exit_code=exit_code if part is None else part.get("exit_code", exit_code),  # of several boards each has its own
                seconds=round(seconds, 3),
                board=_target(args) if part is None else run_record.board_of(part) or _target(args),
                artefacts=artefacts or _given(args),  # a board that failed names none
                dataset_sha256=None if part is None else part.get("dataset_sha256"),
                summary="failed" if part is None or said else run_record.summary_of(part),
                report=part,
                error=None if said is None else " ".join(str(said).split()),
                versions=versions,
                host=machine,
            )
        )


def _given(args: argparse.Namespace) -> tuple[Any, ...]:
    from .record import Artefact

    file = getattr(args, "file", None) or getattr(args, "artefact", None)
    return () if file is None else (Artefact(role="candidate", file=str(file), sha256=None),)


def _target(args: argparse.Namespace) -> str | None:
    targets = getattr(args, "targets", None)
    return ", ".join(targets) if targets else None
