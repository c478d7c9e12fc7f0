"""``validate --shard``: the images of one validation in shares over equal boards, and one report of all.

A board that fails gives its share to the others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import fleet, images, remote
from .errors import DeviceError, RemoteError
from .probe import BoardFacts, ask
from .remote import Outcome
from .request import Request
from .shell import Shell, one_line

Report = Callable[[str], None]
_MERGE_S = 600.0


def validate(targets: Sequence[str], request: Request, report: Report, *, config: Path | None) -> Outcome:
    """Validate in shares. Raises DeviceError where the boards are not equal, or none of them comes to its end."""
    _check(request, targets)
    assert request.images is not None
    count = len(images.listed(Path(request.images), request.limit).names)
    if count < len(targets):
        raise DeviceError(f"{request.images}: {count} images for {len(targets)} boards; name fewer boards")
    looked = fleet.on_each(targets, _look, config=config)
    facts = {one.target: one.result for one in looked if one.result is not None}
    for one in looked:
        if one.error is not None:
            report(f"{one.target}: {one.error}; its share goes to the others")
    equal(facts)
    alive = list(facts)
    shares = list(range(len(targets)))
    reports: list[dict[str, Any]] = []
    boards: dict[str, int] = {}
    last: DeviceError | None = next((one.error for one in looked if one.error is not None), None)
    while shares and alive:
        now = dict(zip(alive, shares, strict=False))
        outcomes = fleet.on_each(list(now), _worker(now, len(targets), request, report), config=config)
        for outcome in outcomes:
            if outcome.result is None:
                alive.remove(outcome.target)
                last = outcome.error
                report(f"{outcome.target}: {outcome.error}; its share goes to the others")
                continue
            shares.remove(now[outcome.target])
            reports.append(outcome.result.report)
            boards[outcome.target] = boards.get(outcome.target, 0) + int(outcome.result.report["images"])
    if shares:
        raise RemoteError(f"none of the boards is left: {last}") from last
    merged, text = _merge(reports, request)
    text += "".join(f"\n  {target}: {images:,} images" for target, images in boards.items())
    verdict = merged.get("verdict")
    return Outcome(
        target=", ".join(targets), verb="validate", exit_code=0 if verdict in (None, "pass") else 1, text=text, report=merged
    )


def equal(facts: dict[str, BoardFacts]) -> None:
    """Raise DeviceError unless the boards are of one kind: else shares of one model's accuracy would be of different things."""
    kinds = {target: (found.profile or found.model, found.arch, found.python) for target, found in facts.items()}
    if len(set(kinds.values())) > 1:
        shown = "; ".join(f"{target}: {kind[0] or 'unknown'}, {kind[1]}" for target, kind in kinds.items())
        raise DeviceError(f"--shard needs equal boards ({shown}); leave it out to validate on each of them")


def _check(request: Request, targets: Sequence[str]) -> None:
    if request.verb != "validate" or len(targets) < 2 or request.images is None or request.images_there:
        raise DeviceError("--shard is for validate with --images on this machine and --on two or more boards")
    if request.sequential or request.certify is not None:
        raise DeviceError("--shard splits a whole validation; leave --sequential and --certify out")


def _look(shell: Shell) -> BoardFacts:
    shell.connect()
    return ask(shell)


def _worker(shares: dict[str, int], parts: int, request: Request, report: Report) -> Callable[[Shell], Outcome]:
    def work(shell: Shell) -> Outcome:
        # The verdict is about all images; each share alone would be undecided.
        part = replace(request, part=(shares[shell.name], parts), max_drop=None)
        return remote.carry_out(shell, part, lambda text: report(f"{shell.name}: {text}"))

    return work


def _merge(reports: Sequence[dict[str, Any]], request: Request) -> tuple[dict[str, Any], str]:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        files = []
        for number, found in enumerate(reports):
            files.append(str(Path(folder) / f"{number}.json"))
            Path(files[-1]).write_text(json.dumps(found), "utf-8")
        limit = [] if request.max_drop is None else ["--max-drop", str(request.max_drop)]
        done = subprocess.run(
            [sys.executable, "-m", "edge.merging", *files, *limit],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_MERGE_S,
            check=False,
            errors="replace",
        )
    if done.returncode != 0:
        raise RemoteError(f"the boards' reports cannot be put together: {one_line(done.stderr).rpartition('error: ')[2]}")
    found = json.loads(done.stdout)
    return found["report"], str(found["text"])
