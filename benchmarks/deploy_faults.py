"""Deployments that are interrupted: the board's process at every file operation, the client's messages in the middle of each.

    python -m benchmarks.deploy_faults A.int8.tflite B.float32.tflite --target local|ssh|virtual [--kinds ...] [--record]

Every case begins with A deployed, deploys B with one fault, and asks: is the current release A or B, whole? is A's release still
there, whole? does the next deployment of B work, and clear the rest away? Prints one JSON object with the counts.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from devices.errors import BoardBusyError, DeviceError
from devices.rollout import deploy, releases
from devices.transport.shell import Shell

from . import faults, record
from .fault_places import TARGETS, Place, open_place

PROCESS = ("kill", "ENOSPC", "EACCES", "EIO")  # of the board's process, at the nth file operation
# In the middle of the client's nth message.
MESSAGE = (
    "client killed",
    "connection cut",
    "upload damaged",
    "disk full",
    "no write rights",
    "no execute rights",
    "two at once",
)
ENVIRONMENT_STEP = 97
CHECKED = 8  # the message that asks for the self-test: what is damaged later, `status` finds


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One interrupted deployment. ``current`` is what the board had afterwards; ``problems`` is what must not be."""

    kind: str
    at: int
    hit: bool
    current: str
    problems: tuple[str, ...]


class FaultyBoard:
    """A folder on a board with the first artefact deployed, and what can be done to the deployment of the second."""

    def __init__(self, place: Place, first: Path, second: Path, *, new_environment: bool = False) -> None:
        self.place, self.first, self.second = place, first, second
        self._pristine, self._root = place.here / "pristine", place.here / "board"
        self._there = f"{place.there}/board"
        self._python = faults.write_hook(place.here, place)
        # With the other interpreter the second artefact needs an environment that is not there yet.
        other = deploy.Options(folder=f"{place.there}/pristine", runtime="tflite-runtime", selftest=False)
        options = other if new_environment else deploy.Options(folder=f"{place.there}/pristine")
        with contextlib.closing(place.shell()) as shell:
            deploy.deploy(shell, first, options, lambda _: None)
        self._kept = {path.name for path in (self._pristine / "releases").iterdir()}

    def cases(self, kind: str, *, step: int = 1, offset: int = 1) -> Iterator[Case]:
        """Yield a case for every ``step``-th file operation or message, until a deployment has no more of them."""
        at = offset
        while True:
            if kind == "upload damaged" and at > CHECKED:
                return
            case = self.case(kind, at)
            if not case.hit:
                return
            yield case
            at += step

    def possible(self, kind: str) -> bool:
        """Return whether a kind of fault means something here."""
        if kind == "connection cut":
            return self.place.target is not None
        return not (kind == "disk full" and not self.place.small) and not (kind.endswith("rights") and self.place.root)

    def case(self, kind: str, at: int) -> Case:
        """Deploy the second artefact over the first with one fault, and look what is there then and after the next try."""
        shutil.rmtree(self._root, ignore_errors=True)
        # Hard links: a copy costs no room, and keeps the owners.
        subprocess.run(["cp", "-al", str(self._pristine), str(self._root)], check=True)
        problems: list[str] = []
        if kind in PROCESS:
            hit = self._fail_there(kind, at)
        elif kind == "client killed":
            hit = self._kill_the_client(at)
        else:
            hit = self._interrupt(kind, at, problems)
        with (self._root / "lock").open("r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # until the board's process has gone, it may still be at work
        current, found = self._look({self.first, self.second})
        problems += found
        self._heal()
        healed, more = self._look({self.second})
        # The rest of an interruption is gone too.
        with contextlib.closing(self.place.shell()) as shell:
            known = {release.id for release in releases.status(shell, folder=self._there).releases}
        rest = {path.name for path in (self._root / "releases").iterdir()} - known
        problems += more + [f"a rest stays: {name}" for name in sorted(rest)]
        return Case(kind=kind, at=at, hit=hit, current=current, problems=tuple(problems))

    def _fail_there(self, kind: str, at: int) -> bool:
        mark = self.place.here / "hit"
        (self.place.here / "fault").write_text(f"{kind}:{at}:{self.place.there}/hit:{self._there}")
        # Some faults do no harm (a file that is only looked for): then the deployment comes to its end.
        with contextlib.suppress(DeviceError), contextlib.closing(self.place.shell(self._python)) as shell:
            self._deploy(shell)
        hit = mark.exists()
        if hit:
            mark.rmdir()
        return hit

    def _kill_the_client(self, at: int) -> bool:
        client = multiprocessing.get_context("spawn").Process(target=_client, args=(self.place, self.second, self._there, at))
        client.start()
        client.join()
        return client.exitcode == -signal.SIGKILL

    def _interrupt(self, kind: str, at: int, problems: list[str]) -> bool:
        rights: dict[Path, int] = {}
        said: list[str] = []
        folders = (self._root, self._root / "releases", self._root / "uploads")
        acts: dict[str, Callable[[], object]] = {
            "connection cut": lambda: faults.cut(shell),
            "upload damaged": lambda: faults.damage(self._root, self._kept),
            "disk full": lambda: faults.fill(self.place.here),
            "no write rights": lambda: rights.update(faults.forbid(folders, 0o500)),
            "no execute rights": lambda: rights.update(faults.forbid(self._root.glob("env/*/bin"), 0o600)),
            "two at once": lambda: faults.second_client(self.place.shell(), self._deploy, said),
        }
        shell = faults.InterruptedShell(self.place.shell(), at, lambda: (acts[kind](), None)[1])
        with contextlib.suppress(DeviceError), contextlib.closing(shell):
            self._deploy(shell)
        (self.place.here / "filler").unlink(missing_ok=True)
        for folder, mode in rights.items():
            if folder.is_dir():
                folder.chmod(mode)
        # The lock is taken with the first message: whoever comes before that deploys, and everybody later hears of it.
        if kind == "two at once" and shell.hit and said != ["done" if at == 1 else "busy"]:
            problems.append(f"the second client: {said}")
        return shell.hit

    def _heal(self) -> None:
        for _ in range(20):
            try:
                with contextlib.closing(self.place.shell()) as shell:
                    # Emulated, replaying the golden samples is most of the time; that the release is whole is looked at anyway.
                    self._deploy(shell, selftest=self.place.name != "virtual")
                return
            except BoardBusyError:
                subprocess.run([sys.executable, "-c", "pass"], check=True)  # let the other side see the end of its input
        raise RuntimeError("the lock stayed")

    def _deploy(self, shell: Shell, *, selftest: bool = True) -> None:
        deploy.deploy(shell, self.second, deploy.Options(folder=self._there, selftest=selftest), lambda _: None)

    def _look(self, allowed: set[Path]) -> tuple[str, list[str]]:
        """Return the current release's artefact and what is wrong, read from the disk without edgekit."""
        problems: list[str] = []
        by_hash = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in (self.first, self.second)}
        current = self._root / "current"
        found = by_hash.get(_model_hash(current))
        if found not in allowed:
            problems.append(f"the current release is {found.name if found else 'no whole artefact'}")
        if not os.path.lexists(current / "env/bin/python") or not (current / "env/complete.json").exists():
            problems.append("the current release has no environment")
        if json.loads((current / "release.json").read_text())["sha256"] != _model_hash(current):
            problems.append("the current release is not what it says")
        if not any(by_hash.get(_model_hash(path)) == self.first for path in (self._root / "releases").glob("0001-*")):
            problems.append("the release before is lost")
        return found.name if found else "", problems


def _client(place: Place, artefact: Path, folder: str, at: int) -> None:
    """Deploy, and be killed in the middle of the nth message: runs in a process of its own."""
    shell = faults.InterruptedShell(place.shell(), at, lambda: os.kill(os.getpid(), signal.SIGKILL))
    with contextlib.closing(shell):
        deploy.deploy(shell, artefact, deploy.Options(folder=folder), lambda _: None)


def _model_hash(folder: Path) -> str:
    path = folder / "model.tflite"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def main() -> int:
    """Run the kinds of faults at all operations and messages; return 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--target", choices=TARGETS, default="local")
    parser.add_argument("--kinds", default=",".join((*PROCESS, *MESSAGE)), help="a comma between them; default: all")
    parser.add_argument("--environment", action="store_true", help="also while a new environment is made")
    parser.add_argument(
        "--step", type=int, default=1, metavar="N", help="every Nth message, every 4Nth file operation (with 1: all)"
    )
    parser.add_argument("--offset", type=int, default=1, metavar="N", help="the first one (default: 1)")
    parser.add_argument("--record", action="store_true", help="add the counts to benchmarks/results")
    args = parser.parse_args()
    counts: dict[str, int] = {}
    after: dict[str, int] = {}
    bad: list[str] = []

    def run(board: FaultyBoard, kind: str, name: str, step: int) -> None:
        for case in board.cases(kind, step=step, offset=args.offset):
            counts[name] = counts.get(name, 0) + 1
            after[case.current] = after.get(case.current, 0) + 1
            bad.extend(f"{name} at {case.at}: {problem}" for problem in case.problems)
            print(f"{name} {case.at}: {case.current} {case.problems or ''}", file=sys.stderr, flush=True)

    kinds = [kind for kind in args.kinds.split(",") if kind]
    if kinds:
        with open_place(args.target) as place:
            board = FaultyBoard(place, args.first, args.second)
            for kind in filter(board.possible, kinds):
                run(board, kind, kind, 4 * args.step if args.step > 1 and kind in PROCESS else args.step)
    if args.environment:
        # Thousands of files are unpacked into an environment: a sample of them.
        with open_place(args.target) as place:
            board = FaultyBoard(place, args.first, args.second, new_environment=True)
            for kind in ("kill", "ENOSPC"):
                run(board, kind, f"{kind} with a new environment", ENVIRONMENT_STEP)
    figures = {"target": args.target, "faults": sum(counts.values()), "counts": counts, "current after": after, "problems": bad}
    print(json.dumps(figures, indent=1))
    if args.record:
        record.append("deploy_faults", figures)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
