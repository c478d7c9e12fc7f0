"""The runtime's own commands, carried out on a board: ``python -m edge VERB … --json`` runs there, its report comes back.

The artefact, the images and the reference's answers are sent once: what is there already is not sent again.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..boards import throttling
from ..doctor.probe import BoardFacts, ask
from ..errors import DeviceError
from ..origin import THIS_MACHINE, of_board
from ..rollout.environments import install
from ..texts import clean
from ..transport import room
from ..transport.session import Session
from ..transport.shell import Shell
from . import certify, stepwise
from .certificate import Certificate
from .request import Request
from .run import Answered, BoardRun, listed, send_file

_ELAPSED = re.compile(r"\b(done|stopped) in [^,;]+$")  # how edge.progress ends
__all__ = ["BoardReport", "bit_equal", "board", "carry_out", "quotable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardReport:
    """What a board reported, with what it is."""

    target: str
    verb: str
    exit_code: int
    text: str
    report: dict[str, Any]

    def to_text(self) -> str:
        return f"{self.target}\n{self.text}"

    def to_dict(self) -> dict[str, Any]:
        return self.report

    def row(self) -> dict[str, str]:
        """Return the line of a table over several boards."""
        report = self.report
        cells = {"board": of_board(report).place}
        if self.verb == "benchmark":
            thermal = report.get("thermal") or {}
            cells |= {f"{name} ms": _number(report.get(f"{name}_ms"), ".2f") for name in ("p50", "p90", "p99")}
            cells |= {"threads": str(report.get("threads", "")), "MiB": _number(report.get("peak_memory_mib"), ".0f")}
            energy = report.get("energy")
            cells |= {"J a run": _number(energy.get("joules_per_run"), ".3g")} if isinstance(energy, dict) else {}
            cells |= {"max °C": _number(thermal.get("max_c"), ".0f"), "quotable": "yes" if report.get("quotable") else "NO"}
        elif self.verb == "selftest":
            cells |= {"passed": _yes(report.get("passed")), "exact": _yes(report.get("exact"))}
        else:
            drop = report.get("drop") or {}
            cells |= {
                "images": str(report.get("images", "")),
                "top-1": _number((report.get("candidate") or {}).get("top1"), ".2%"),
                "drop": _number(drop.get("top1"), "+.2%"),
                "lost/won": f"{drop['flips_lost']}/{drop['flips_won']}" if "flips_lost" in drop else "",
                "verdict": str(report.get("verdict") or ""),
            }
        return {name: clean(cell) for name, cell in cells.items()}


def carry_out(shell: Shell, request: Request, report: Callable[[str], None]) -> BoardReport:
    """Do it on one board. Raises DeviceError and its kind; a verdict that says no is the exit code of what it reports."""
    shell.connect()
    facts = ask(shell)
    say = (lambda text: report(_ELAPSED.sub(r"\1", text))) if facts.virtual else report
    if facts.virtual and request.verb == "benchmark":
        raise DeviceError(
            f"{shell.name}: an emulated board has no speed of its own, so there is nothing to measure; benchmark the real board"
        )
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch, Session(shell, folder=request.options.folder) as session:
        run = prepare(session, facts, request, Path(scratch), say)
        warning = "" if run.listing is None else run.listing.warning()
        if warning:
            say(f"warning: {warning}")
        answered = _answer(run)
    after = ask(shell) if request.verb == "benchmark" else facts
    shown, found = answered.text, answered.report
    if facts.virtual:
        if found.get("measured_on") != THIS_MACHINE:
            found.pop("timing", None)
        shown += "\n(an emulated board: its answers count, its times do not)"
    found["board"] = board(facts)
    if warning:
        found["findings"] = [*found.get("findings", []), {"check": "skipped", "severity": "warning", "message": warning}]
    if request.verb == "benchmark":
        reasons = [str(reason) for reason in found.get("not_quotable_because") or ()]
        reasons += [reason for reason in quotable(facts, after)[1:] if reason]
        found["quotable"], found["not_quotable_because"] = not reasons, reasons
        if reasons and "NOT this" not in shown:
            shown += f"\nNOT this board's speed: {'; '.join(reasons)}"
    return BoardReport(target=shell.name, verb=request.verb, exit_code=answered.code, text=shown, report=found)


def prepare(session: Session, facts: BoardFacts, request: Request, scratch: Path, report: Callable[[str], None]) -> BoardRun:
    """See to it that the board has the runtime and the artefact, and removes what it has no use for any more."""
    listing, cap_bytes = listed(request), room.cap_bytes()
    free = int(session.ask("state")["free_bytes"])
    known = session.ask("have", sha256_hex=request.sha256, suffix=".tflite")["path"]
    coming = request.file if known is None else None
    environment = install(session, facts, request.options, report, free_bytes=free, artefact=coming)
    room.tidy(session, environment.key, cap_bytes)
    return BoardRun(
        session=session,
        environment=environment.key,
        model=str(known) if known is not None else send_file(session, request.file, request.sha256, ".tflite"),
        request=request,
        listing=listing,
        scratch=scratch,
        report=report,
    )


def board(facts: BoardFacts) -> dict[str, Any]:
    """Return who a board is, for a report. No host name and no user."""
    return {
        "profile": facts.profile,
        "model": facts.model,
        "arch": facts.arch,
        "system": facts.os_name,
        "kernel": facts.first("kernel"),
        "python": facts.first("python"),
        "glibc": facts.first("libc"),
        "memory_total_mib": facts.memory_total_mib,
        "governor": " and ".join(dict.fromkeys(facts.answers.get("governor", ()))) or None,
        "temperature": list(facts.answers.get("temperature", ())),
        "throttled": facts.first("throttled"),
        "virtual": facts.virtual,
    }


def bit_equal(report: dict[str, Any], found: Certificate) -> bool:
    """Return whether a board answered as this machine did to the same file, bit for bit.

    The reference then is the file itself, run here: any difference in one output value shifts the mean total variation off zero.
    """
    return report.get("agreement") == 1.0 and report.get("probability_shift") == 0.0 and found.bit_equal


def quotable(before: BoardFacts, after: BoardFacts) -> tuple[bool, str]:
    """Return whether a measurement between two looks at a board is its speed, and why not where it is not.

    Flags that are set now, or that came up meanwhile, spoil it; those of an earlier time do not.
    """
    then, now = (throttling.now_and_since_start(facts.first("throttled") or "") for facts in (before, after))
    if now is None:
        return True, ""
    new = set(now[1]) - set(then[1] if then is not None else ())
    spoiled = sorted({*now[0], *new, *(then[0] if then is not None else ())})
    return not spoiled, f"{', '.join(spoiled)} while it was measured" if spoiled else ""


def _answer(run: BoardRun) -> Answered:
    request = run.request
    if request.sequential:
        return stepwise.until_decided(run)
    if request.certify is not None:
        return certify.certified(run)
    listing = run.listing
    flags = [] if request.max_drop is None else ["--max-drop", str(request.max_drop)]
    answered = run.verb(listing, reference=run.answers(listing), flags=flags)
    if not request.compares_with_itself or listing is None:
        return answered
    found, _ = certify.certificate(run, certify.COMPARED)
    same = bit_equal(answered.report, found)
    images = answered.report.get("images")
    said = f"bit-equal: the outputs for all {images} images.\n" if same else ""
    report = {**answered.report, "bit_equal": same, "certificate": found.to_dict()}
    return Answered(code=answered.code, text=f"{answered.text}\n{said}{found.to_text()}", report=report)


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _yes(value: object) -> str:
    return "yes" if value is True else "NO"
