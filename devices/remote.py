"""The runtime's own commands, carried out on a board: ``python -m edge VERB … --json`` runs there, its report comes back.

The artefact, the images and the reference are sent once (what is there already is not sent again); a float reference is run on
the workstation and only its answers are sent. What comes back is not trusted: its size is limited, and what reaches the terminal
is cleaned of escapes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from . import images, sequential, throttling
from .deploy import MAX_REPORT_BYTES, Options, check_artefact, install, run_edge
from .errors import DeviceError, RemoteError
from .probe import BoardFacts, ask
from .session import Session
from .shell import Shell, clean, one_line

VERBS = ("validate", "benchmark", "selftest")
ON_THE_BOARD = "board:"  # --images board:/home/pi/photos
_TIMEOUT_S = 24 * 3600.0
_BATCH_IMAGES = 100
_REFERENCE_S = 24 * 3600.0
# The flags that name files of the workstation and have no way to the board yet.
_NOT_THERE = ("labels", "delegate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One command line for boards. ``flags`` is what the board gets as it is; files are named by their places here."""

    verb: str
    file: Path
    sha256: str
    flags: tuple[str, ...]
    images: str | None
    reference: Path | None
    limit: int | None
    sequential: float | None
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a board reported, with what it is."""

    target: str
    exit_code: int
    text: str
    report: dict[str, Any]

    def to_text(self) -> str:
        return f"{self.target}\n{self.text}"

    def to_dict(self) -> dict[str, Any]:
        return self.report


def read(args: argparse.Namespace) -> Request:
    """Return the request in a parsed command line. Raises DeviceError for what cannot be done on a board."""
    # Exact flags only: what is abbreviated would be sent on, and mean something else there.
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in ("--on", "--folder", "--ssh-config", "--wheels", "--json", "--images", "--reference", "--limit", "--max-drop"):
        own.add_argument(flag, action="append")
    own.add_argument("--sequential", action="store_true")
    mine, rest = own.parse_known_args(args.argv[1:])
    verb, file = args.argv[0], args.file
    if file is None or file not in rest:
        raise DeviceError(f"{verb} --on needs a FILE")
    rest.remove(file)
    for name in ("images", "reference", "limit", "max_drop"):
        if getattr(args, name, None) is not None and len(getattr(mine, name) or ()) != 1:
            raise DeviceError(f"with --on, write --{name.replace('_', '-')} once and in full")
    for name in _NOT_THERE:
        if getattr(args, name, None) is not None:
            raise DeviceError(
                f"--{name} cannot be used with --on yet; make an artefact that carries its contract (edgekit quantize)"
            )
    reference = getattr(args, "reference", None)
    if verb == "validate" and args.images is None:
        raise DeviceError("validate --on needs --images DIR (or board:DIR for a folder that is on the board)")
    limit, stepwise = getattr(args, "max_drop", None), bool(getattr(args, "sequential", False))
    if stepwise and (limit is None or reference is None or args.images.startswith(ON_THE_BOARD)):
        raise DeviceError("--sequential needs --max-drop, --reference and --images DIR on this machine")
    if stepwise and limit is not None and not 0.0 < limit < 1.0:
        raise DeviceError(f"--max-drop is {limit}, expected a fraction above 0 and below 1 (0.01 is one point)")
    if limit is not None and not stepwise:
        rest += ["--max-drop", str(limit)]
    return Request(
        verb=verb,
        file=Path(file),
        sha256=check_artefact(Path(file)),
        flags=tuple(rest),
        sequential=limit if stepwise else None,
        images=getattr(args, "images", None),
        reference=Path(reference) if reference is not None else None,
        limit=getattr(args, "limit", None),
        options=Options(folder=args.folder, wheels=Path(args.wheels) if args.wheels else None),
    )


def carry_out(shell: Shell, request: Request, report: Callable[[str], None]) -> Outcome:
    """Do it on one board. Raises DeviceError and its kind; a verdict that says no is the outcome's exit code."""
    shell.connect()
    facts = ask(shell)
    if facts.virtual and request.verb == "benchmark":
        raise DeviceError(
            f"{shell.name}: an emulated board has no speed of its own, so there is nothing to measure; benchmark the real board"
        )
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch, Session(shell, folder=request.options.folder) as session:
        free = int(session.ask("state")["free_bytes"])
        environment = install(session, facts, request.options, report, free_bytes=free, artefact=request.file)
        model = session.upload(request.file, request.sha256, where="cache", suffix=".tflite")
        if request.sequential is not None:
            return _until_decided(session, environment.key, model, request, facts, Path(scratch), report)
        code, shown, found = _run(session, environment.key, model, request, Path(scratch), report)
    after = ask(shell) if request.verb == "benchmark" else facts
    if facts.virtual:
        found.pop("timing", None)
        shown += "\n(an emulated board: its answers count, its times do not)"
    found["board"] = board(facts)
    if _is_itself(request):
        found["bit_equal"], said = bit_equal(found)
        shown += f"\n{said}"
    if request.verb == "benchmark":
        found["quotable"], reason = quotable(facts, after)
        if reason:
            shown += f"\nNOT this board's speed: {reason}"
    return Outcome(target=shell.name, exit_code=code, text=shown, report=found)


def _run(
    session: Session, environment: str, model: str, request: Request, scratch: Path, report: Callable[[str], None]
) -> tuple[int, str, dict[str, Any]]:
    """Run the command once; return its exit code, what it prints, and its report."""
    where = session.shell.name
    args = [request.verb, model, *request.flags]
    if request.images is not None:
        args += _images(session, request, report)
    sent_reference = None
    if request.reference is not None:
        sent_reference = _reference(session, request, scratch, report)
        args += ["--reference", sent_reference]
    name = f"report-{request.sha256[:12]}.json"
    args += ["--json", f"{session.hello['root']}/cache/{name}"]
    report(f"{request.verb} runs on the board")
    answer = run_edge(session, environment, args, timeout_s=_TIMEOUT_S, hear=lambda said: _pass_on(said, report))
    if answer["returncode"] not in (0, 1):
        said = one_line(str(answer["stderr"])[-600:]).rpartition("edgekit: error: ")[2]
        raise RemoteError(f"{where}: {request.verb} failed there with code {answer['returncode']}: {said or 'it says nothing'}")
    text = session.ask("take", name=name, limit_bytes=MAX_REPORT_BYTES)["text"]
    shown = clean(str(answer["stdout"])).rstrip()
    # Files have their SHA-256 for a name on the board; the user knows them by theirs.
    for there, here in ((model, request.file), (sent_reference, request.reference)):
        if there is not None and here is not None:
            shown = shown.replace(there, here.name).replace(PurePosixPath(there).name, here.name)
            text = text.replace(json.dumps(there), json.dumps(here.name))
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RemoteError(f"{where}: its report cannot be read: {one_line(text[:200])}")
    return int(answer["returncode"]), shown, found


def _until_decided(
    session: Session,
    environment: str,
    model: str,
    request: Request,
    facts: BoardFacts,
    scratch: Path,
    report: Callable[[str], None],
) -> Outcome:
    """Validate batch after batch, in random order, until the sequential test has decided or the images are used up."""
    assert request.sequential is not None and request.images is not None
    folder = Path(request.images)
    names = list(images.listed(folder, request.limit))
    random.Random(0).shuffle(names)
    plans = ", ".join(f"{sequential.fixed_plan(request.sequential, rate):,} at {rate:.1%}" for rate in (0.015, 0.055))
    report(f"{len(names)} images at most; a fixed number would have to be {plans} discordant images")
    test = sequential.Sequential(limit=request.sequential)
    for start in range(0, len(names), _BATCH_IMAGES):
        batch = scratch / f"batch{start}"
        for name in names[start : start + _BATCH_IMAGES]:
            (batch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / name, batch / name)
        part = replace(request, images=str(batch), limit=None, flags=(*request.flags, "--diagnose", "never"))
        _, _, found = _run(session, environment, model, part, scratch, lambda _: None)
        shutil.rmtree(batch)
        try:
            drop = found["drop"]
            test.add(int(found["images"]), int(drop["flips_lost"]), int(drop["flips_won"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RemoteError(f"{session.shell.name}: a report without the counts that are needed ({error})") from error
        report(f"{test.images} of {len(names)} images: {test.lost} lost, {test.won} won")
        if test.verdict is not None:
            break
    verdict = test.verdict or "undecided"
    text = (
        f"{verdict.upper()} after {test.images} of {len(names)} images ({test.lost} lost, {test.won} won): a sequential test (Wald) of the"
        f" population these images were drawn from, limit {request.sequential:g}, alpha {sequential.ALPHA:g}, power"
        f" {1 - sequential.BETA:g} at no drop"
    )
    data = {
        "verdict": verdict,
        "images": test.images,
        "drop": {"top1": (test.lost - test.won) / test.images, "flips_lost": test.lost, "flips_won": test.won},
        "sequential": {
            "limit": request.sequential,
            "alpha": sequential.ALPHA,
            "power": 1 - sequential.BETA,
            "estimates": "population",
            "log_likelihood_ratio": test.log_likelihood_ratio,
        },
        "model_sha256": request.sha256,
        "board": board(facts),
    }
    return Outcome(target=session.shell.name, exit_code=0 if verdict == "pass" else 1, text=text, report=data)


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
        "governor": facts.first("governor"),
        "temperature": list(facts.answers.get("temperature", ())),
        "throttled": facts.first("throttled"),
        "virtual": facts.virtual,
    }


def bit_equal(report: dict[str, Any]) -> tuple[bool, str]:
    """Return whether a board answered as this machine did to the same file, bit for bit, and what follows from that.

    The reference then is the file itself, run here: any difference in one output value shifts the mean total variation off zero.
    """
    equal = report.get("agreement") == 1.0 and report.get("probability_shift") == 0.0
    images, runtime = report.get("images"), report.get("runtime")
    which = clean(f"{runtime.get('package')} {runtime.get('version')}") if isinstance(runtime, dict) else "its runtime"
    if equal:
        return True, (
            f"bit-equal: on all {images} images the board gave the same bits as this machine. An integer model does the same"
            f" operations on every image, so the accuracy measured here holds there, for {which} and these kernels."
        )
    return False, f"not bit-equal: the board ({which}) answers differently from this machine; validate there, not here."


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


def _images(session: Session, request: Request, report: Callable[[str], None]) -> list[str]:
    assert request.images is not None
    if request.images.startswith(ON_THE_BOARD):
        limit = [] if request.limit is None else ["--limit", str(request.limit)]
        return ["--images", request.images.removeprefix(ON_THE_BOARD), *limit]
    folder = Path(request.images)
    return ["--images", images.send(session, folder, images.listed(folder, request.limit), report)]


def _reference(session: Session, request: Request, scratch: Path, report: Callable[[str], None]) -> str:
    """Send the answers of the reference, which are computed here unless they are stored already; return their place there."""
    stored = request.reference
    assert stored is not None
    if stored.suffix.lower() != ".npz":
        check_artefact(stored)
        if request.images is None or request.images.startswith(ON_THE_BOARD):
            raise DeviceError(
                "with images on the board the reference must be stored outputs (.npz): edgekit outputs FILE --images DIR"
            )
        report(f"running the reference {stored.name} on this machine")
        answers = scratch / "reference.npz"
        command = [sys.executable, "-m", "edge", "outputs", str(stored), "--images", request.images, "--out", str(answers)]
        if request.limit is not None:
            command += ["--limit", str(request.limit)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_REFERENCE_S,
                check=False,
                errors="replace",
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{stored}: the reference did not come to its end here") from error
        if done.returncode != 0:
            raise DeviceError(f"{stored}: the reference cannot be run here: {one_line(done.stderr).rpartition('error: ')[2]}")
        stored = answers
    try:
        with stored.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DeviceError(f"{stored}: cannot be read ({error.strerror})") from error
    return session.upload(stored, sha256, where="cache", suffix=".npz")


def _is_itself(request: Request) -> bool:
    """Whether the reference is the very file: then the board is compared with this machine."""
    reference = request.reference
    return reference is not None and reference.suffix.lower() != ".npz" and check_artefact(reference) == request.sha256


def _pass_on(said: str, report: Callable[[str], None]) -> None:
    for line in said.splitlines():
        if line.strip():
            report(line.rstrip())
