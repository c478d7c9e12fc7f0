"""``validate --shard``: the images of one validation in shares over equal boards, and one report of all.

A board that fails gives its share to the others.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import own_python
from ..doctor.probe import BoardFacts, ask
from ..errors import DeviceError, RemoteError
from ..fleet import fleet
from ..origin import EMULATED
from ..transport.session import Session
from ..transport.shell import Shell, one_line
from . import certificate, images, remote
from .remote import BoardReport
from .request import Request

Report = Callable[[str], None]
_COMPARED = 5  # images whose bits are compared on all boards, beside those of every op for the first of them
_MERGE_S = 600.0


def validate(targets: Sequence[str], request: Request, report: Report, *, config: Path | None) -> BoardReport:
    """Validate in shares. Raises DeviceError where the boards are not equal, or none of them comes to its end."""
    _check(request, targets)
    assert request.images is not None
    count = len(images.listed(Path(request.images), request.limit, follow_links=request.follow_links).names)
    if count < len(targets):
        raise DeviceError(f"{request.images}: {count} images for {len(targets)} boards; name fewer boards")
    looked = fleet.on_each(targets, _look, config=config)
    facts = {one.target: one.result for one in looked if one.result is not None}
    equal(facts)
    report(f"comparing the boards' bits on {min(_COMPARED, count)} images")
    compared = fleet.on_each(list(facts), _bits(facts, request, report), config=config)
    bits = {one.target: one.result for one in compared if one.result is not None}
    last: DeviceError | None = None
    for target, error in [(one.target, one.error) for one in looked] + [(one.target, one.error) for one in compared]:
        if error is not None:
            last = error
            report(f"{_named(target, error)}; its share goes to the others")
    same = same_bits(bits)
    alive = list(bits)
    shares = list(range(len(targets)))
    reports: list[dict[str, Any]] = []
    boards: dict[str, int] = {}
    while shares and alive:
        now = dict(zip(alive, shares, strict=False))
        outcomes = fleet.on_each(list(now), _worker(now, len(targets), request, report), config=config)
        for outcome in outcomes:
            if outcome.result is None:
                alive.remove(outcome.target)
                last = outcome.error
                report(f"{_named(outcome.target, outcome.error)}; its share goes to the others")
                continue
            shares.remove(now[outcome.target])
            reports.append(outcome.result.report)
            boards[outcome.target] = boards.get(outcome.target, 0) + int(outcome.result.report["images"])
    if shares:
        raise RemoteError(f"none of the boards is left: {last}") from last
    merged, text = _merge(reports, request)
    merged["boards_compared"] = same
    merged["board"] = {key: value for key, value in reports[0]["board"].items() if key not in ("temperature", "throttled")}
    text += "".join(f"\n  {target}: {images:,} images" for target, images in boards.items())
    if same["boards"] > 1:
        text += f"\n  the {same['boards']} boards gave the same bits to {same['images']} images, and in {same['ops']} ops of one of them"
    if merged["board"].get("virtual"):
        text += "\n(emulated boards: their answers count, their times do not)"
    verdict = merged.get("verdict")
    return BoardReport(
        target=", ".join(targets), verb="validate", exit_code=0 if verdict in (None, "pass") else 1, text=text, report=merged
    )


def _named(target: str, error: DeviceError | None) -> str:
    """Return an error with the target's name before it, once: most errors begin with it."""
    said = str(error)
    return said if said.startswith(f"{target}: ") else f"{target}: {said}"


def equal(facts: dict[str, BoardFacts]) -> None:
    """Raise DeviceError unless the boards are of one kind: else shares of one model's accuracy would be of different things."""
    kinds = {target: (found.profile or found.model, found.arch, found.python, found.virtual) for target, found in facts.items()}
    if len(set(kinds.values())) > 1:
        shown = "; ".join(
            f"{target}: {kind[0] or 'unknown'}, {kind[1]}{EMULATED if kind[3] else ''}" for target, kind in kinds.items()
        )
        raise DeviceError(f"--shard needs equal boards ({shown}); leave it out to validate on each of them")


def same_bits(fingerprints: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return how many boards, images and ops were compared. Raises DeviceError where interpreters or bits differ, and says which.

    Boards of one kind may still run another interpreter, or compute something else: a broken one, or one with another emulator.
    """
    if not fingerprints:
        return {"boards": 0, "images": 0, "ops": 0}
    (first, one), *others = fingerprints.items()
    least = certificate.compare(one, one, where=first)
    for target, other in others:
        found = certificate.compare(one, other, where=target)
        if found.here != found.there:
            raise DeviceError(
                f"--shard needs equal boards ({first}: {found.here}; {target}: {found.there}); leave it out to validate on each of them"
            )
        if not found.bit_equal or found.ops_equal != found.ops:
            op = f"; the first op that differs is {found.first_op}" if found.first_op else ""
            raise DeviceError(
                f"--shard needs equal boards, and {target} does not give the bits of {first}: {found.images - found.equal} of"
                f" {found.images} images differ{op}; leave it out to validate on each of them"
            )
        least = min(least, found, key=lambda certificate: certificate.ops)
    return {"boards": len(fingerprints), "images": least.images, "ops": least.ops}


def _check(request: Request, targets: Sequence[str]) -> None:
    if request.verb != "validate" or len(targets) < 2 or request.images is None or request.images_there:
        raise DeviceError("--shard is for validate with --images on this machine and --on two or more boards")
    if request.sequential or request.certify is not None:
        raise DeviceError("--shard splits a whole validation; leave --sequential and --certify out")


def _look(shell: Shell) -> BoardFacts:
    shell.connect()
    return ask(shell)


def _bits(facts: Mapping[str, BoardFacts], request: Request, report: Report) -> Callable[[Shell], dict[str, Any]]:
    def work(shell: Shell) -> dict[str, Any]:
        def say(text: str) -> None:
            report(f"{shell.name}: {text}")

        with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch, Session(shell, folder=request.options.folder) as session:
            run = remote.prepare(session, facts[shell.name], request, Path(scratch), say)
            assert run.listing is not None
            return run.fingerprint(run.listing.spread(min(_COMPARED, len(run.listing.names))))

    return work


def _worker(shares: dict[str, int], parts: int, request: Request, report: Report) -> Callable[[Shell], BoardReport]:
    def work(shell: Shell) -> BoardReport:
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
            own_python.command("edge.validation.merging", *files, *limit),
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
