"""Deployments that are interrupted at every single file operation on the board: killed there, disk full, no rights, card failing.

    python -m benchmarks.deploy_faults A.int8.tflite B.float32.tflite

Every case begins with A deployed, deploys B with one fault in the board's process, and asks: is the current release A or B, whole?
is A's release still there, whole? does the next deployment of B work? Prints one JSON object with the counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devices import deploy, releases
from devices.errors import DeviceError
from devices.local import LocalShell

KINDS = ("kill", "ENOSPC", "EACCES", "EIO")
ENVIRONMENT_STEP = 97

# Runs in the board's process before everything else: counts what touches files below the folder, and fails the wanted one.
_HOOK = """\
import errno as _errno, os as _os, sys as _sys
_kind, _at, _mark, _below = _os.environ.pop('EDGEKIT_FAULT').split(':', 3)
_seen = [0]
def _hook(event, args):
    if event not in ('open', 'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'os.link', 'os.symlink', 'os.truncate', 'shutil.rmtree'):
        return
    if not any(isinstance(a, (str, bytes, _os.PathLike)) and _os.fsdecode(a).startswith(_below) for a in args[:2]):
        return
    _seen[0] += 1
    if _seen[0] == int(_at):
        _os.mkdir(_mark)
        if _kind == 'kill':
            _os._exit(137)
        raise OSError(getattr(_errno, _kind), 'injected')
_sys.addaudithook(_hook)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One interrupted deployment. ``current`` is what the board had afterwards; ``problems`` is what must not be."""

    kind: str
    at: int
    hit: bool
    current: str
    problems: tuple[str, ...]


class FaultyBoard:
    """A folder on this machine as a board, whose process can be made to fail at its nth file operation."""

    def __init__(self, folder: Path, first: Path, second: Path, *, new_environment: bool = False) -> None:
        self.first, self.second = first, second
        self._pristine = folder / "pristine"
        self._root = folder / "board"
        self._python = folder / "python"
        hook = folder / "hook.py"
        hook.write_text(_HOOK)
        # The session runs `PYTHON -I -u -c CODE ...`: the hook goes before CODE.
        self._python.write_text(
            f'#!/bin/sh\nshift 3\ncode=$1\nshift\nexec {sys.executable} -I -u -c "$(cat {shlex.quote(str(hook))})\n$code" "$@"\n'
        )
        self._python.chmod(0o755)
        # With the other interpreter the second artefact needs an environment that is not there yet.
        other = deploy.Options(folder=str(self._pristine), runtime="tflite-runtime", selftest=False)
        options = other if new_environment else deploy.Options(folder=str(self._pristine))
        deploy.deploy(LocalShell(), first, options, lambda _: None)

    def cases(self, kind: str, *, step: int = 1, offset: int = 1) -> Iterator[Case]:
        """Yield a case for every ``step``-th operation, until a deployment has no more of them."""
        at = offset
        while True:
            case = self.case(kind, at)
            if not case.hit:
                return
            yield case
            at += step

    def case(self, kind: str, at: int) -> Case:
        """Deploy the second artefact over the first with one fault, and look what is there then and after the next try."""
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.copytree(self._pristine, self._root, symlinks=True, copy_function=os.link)
        mark = self._root.with_name("hit")
        os.environ["EDGEKIT_FAULT"] = f"{kind}:{at}:{mark}:{self._root}"
        # Some faults do no harm (a file that is only looked for): then the deployment comes to its end.
        with contextlib.suppress(DeviceError):
            self._deploy(self.second, self._root, python=str(self._python))
        del os.environ["EDGEKIT_FAULT"]
        hit = mark.exists()
        if hit:
            mark.rmdir()
        current, problems = self._look({self.first, self.second})
        self._deploy(self.second, self._root)
        healed, more = self._look({self.second})
        # The rest of an interruption is gone too.
        status = releases.status(LocalShell(), folder=str(self._root))
        known = {release.id for release in status.releases}
        rest = {path.name for path in (self._root / "releases").iterdir()} - known
        problems += more + [f"a rest stays: {name}" for name in sorted(rest)]
        return Case(kind=kind, at=at, hit=hit, current=current, problems=tuple(problems))

    def _deploy(self, artefact: Path, root: Path, python: str | None = None) -> None:
        deploy.deploy(LocalShell(python), artefact, deploy.Options(folder=str(root)), lambda _: None)

    def _look(self, allowed: set[Path]) -> tuple[str, list[str]]:
        """Return the current release's artefact and what is wrong, read from the disk without edgekit."""
        problems: list[str] = []
        by_hash = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in (self.first, self.second)}
        current = self._root / "current"
        found = by_hash.get(_model_hash(current))
        if found not in allowed:
            problems.append(f"the current release is {found.name if found else 'no whole artefact'}")
        if not (current / "env/bin/python").exists() or not (current / "env/complete.json").exists():
            problems.append("the current release has no environment")
        if json.loads((current / "release.json").read_text())["sha256"] != _model_hash(current):
            problems.append("the current release is not what it says")
        if not any(by_hash.get(_model_hash(path)) == self.first for path in (self._root / "releases").glob("0001-*")):
            problems.append("the release before is lost")
        return found.name if found else "", problems


def _model_hash(folder: Path) -> str:
    path = folder / "model.tflite"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def main() -> int:
    """Run all kinds of faults at all operations; return 1 if anything was lost."""
    first, second = (Path(argument) for argument in sys.argv[1:3])
    counts: dict[str, int] = {}
    bad: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        board = FaultyBoard(Path(folder), first, second)
        for kind in KINDS:
            for case in board.cases(kind):
                counts[kind] = counts.get(kind, 0) + 1
                counts[f"{case.current} current"] = counts.get(f"{case.current} current", 0) + 1
                bad += [f"{kind} at {case.at}: {problem}" for problem in case.problems]
            print(kind, counts.get(kind), file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        # Thousands of files are unpacked into an environment: a sample of them.
        board = FaultyBoard(Path(folder), first, second, new_environment=True)
        for kind in ("kill", "ENOSPC"):
            name = f"{kind} with a new environment"
            for case in board.cases(kind, step=ENVIRONMENT_STEP):
                counts[name] = counts.get(name, 0) + 1
                bad += [f"{name} at {case.at}: {problem}" for problem in case.problems]
            print(name, counts.get(name), file=sys.stderr)
    print(
        json.dumps(
            {
                "faults": sum(count for name, count in counts.items() if not name.endswith(" current")),
                "counts": counts,
                "problems": bad,
            },
            indent=1,
        )
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
