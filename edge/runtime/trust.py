"""Which files are let into this process' interpreter: those that were tried in another process before. Nothing else is trust.

The SHA-256 in an artefact finds damage, and says nothing about who wrote it: whoever alters a file can write the hash anew. So the
first time that a file meets a runtime on this machine, its graph is checked in full, and another process loads it and runs it once.
That it passed is remembered in a folder that only its owner can write to, by the file's SHA-256, the runtime with its version, and
the kernels. Where no such folder can be had, every process tries anew.
"""

from __future__ import annotations

import contextlib
import os

from ..artefact.container import Container
from ..errors import ArtefactError, InterpreterError
from ..system import cache, child
from .isolation import ENDED, Prober

# How long the first run may take: a large network with reference kernels on a small board takes minutes.
PATIENCE_S = 120.0
PATIENCE_S_PER_MIB = 5.0

_FOLDER = "tried"
_MOST = 4096  # what is remembered; the oldest are forgotten first
_vouched: set[str] = set()


def vouch(sha256: str, *, runtime: str, kernels: str) -> None:
    """Say that this process has itself just made the file with this SHA-256, from a network that it has run apart already.

    Holds for this process only.
    """
    _vouched.add(_name(sha256, runtime, kernels))


def admit(source: Container, *, runtime: str, kernels: str, try_apart: bool = True) -> None:
    """Return if ``source`` may be given to the interpreter of this process; the first time, find out in another one.

    runtime: the interpreter's name and version. try_apart: False where somebody else tries it out anyhow.

    Raises ArtefactError if its graph is not sound, or if it does not run there; InterpreterError where memory did not suffice to find out.
    """
    name = _name(source.sha256, runtime, kernels)
    if name in _vouched:
        return
    folder = cache.own_folder(_FOLDER)
    if folder is not None and os.path.exists(os.path.join(folder, name)):
        return
    _ = source.graph  # reads, and so checks, all of it
    if not try_apart or child.inside():  # a process of its own already: what happens here ends only that one
        return
    patience_s = PATIENCE_S + PATIENCE_S_PER_MIB * source.file_bytes / (1 << 20)
    with Prober(timeout_s=patience_s) as prober:
        problem = prober.try_file(source.path, kernels=kernels)
    if problem == ENDED:
        raise InterpreterError(
            f"{source.path}: tried out in another process: {problem}; end other programs, or see with edgekit check which boards it fits"
        )
    if problem is not None:
        what = "the file is damaged, or made for another runtime"
        raise ArtefactError(f"{source.path}: tried out in another process: {problem}; {what}")
    source.check_unchanged()
    _vouched.add(name)
    if folder is not None:
        _remember(folder, name)


def _name(sha256: str, runtime: str, kernels: str) -> str:
    machine = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    known = f"{runtime}-{kernels}-{machine}"  # a home folder may be shared by machines of several kinds
    return f"{sha256}-{''.join(letter if letter.isalnum() or letter in '.-_' else '_' for letter in known)}"


def _remember(folder: str, name: str) -> None:
    with contextlib.suppress(OSError):  # a full or read-only disk: it is tried again next time
        os.close(os.open(os.path.join(folder, name), os.O_CREAT | os.O_WRONLY, 0o600))
        entries = [entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
        if len(entries) > _MOST:
            entries.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)
            for entry in entries[: len(entries) - _MOST]:
                os.unlink(entry)
