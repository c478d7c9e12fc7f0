"""Runs ``edgetpu_compiler`` where the user has it, and gives the compiled model its contract back.

The compiler is Google's, closed, and may not be passed on: edgekit finds it on PATH or in a Docker image, never brings it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from devices.edgetpu import log as edgetpu_log
from devices.edgetpu.log import CompilerLog

from ..artefact import container, graph, marker, tflite_metadata
from ..artefact import editing as metadata_editing
from ..errors import EdgeError
from ..files import atomic_write

PROGRAM = "edgetpu_compiler"
TIMEOUT_S = 180

_INSTALL = (
    "it runs on x86-64 Linux (Debian, Ubuntu, WSL, Colab) only: add the repository"
    " 'deb https://packages.cloud.google.com/apt coral-edgetpu-stable main', apt-get install edgetpu-compiler;"
    " or name a Docker image that has it (--docker IMAGE)"
)


class CompilerError(EdgeError, RuntimeError):
    """The Edge TPU compiler is not here, or it refuses the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What the compiler made: its log, and the files (one, or one per segment)."""

    command: tuple[str, ...]
    log: CompilerLog
    files: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"command": list(self.command), "files": [str(path) for path in self.files], "log": asdict(self.log)}


def find(image: str | None = None) -> tuple[str, ...]:
    """Return the words that start the compiler: itself, or Docker with ``image``. Raises CompilerError where there is none."""
    if image is not None:
        docker = shutil.which("docker")
        if docker is None:
            raise CompilerError("there is no docker on PATH; install it, or install edgetpu_compiler itself")
        return docker, image
    program = shutil.which(PROGRAM)
    if program is None:
        raise CompilerError(f"there is no {PROGRAM} on PATH, and edgekit may not bring it along; {_INSTALL}")
    return (program,)


def compile_model(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    image: str | None = None,
    min_runtime: int | None = None,
    all_subgraphs: bool = False,
    segments: int = 1,
    timeout_s: int = TIMEOUT_S,
) -> Compiled:
    """Compile the model at ``path`` into ``folder`` and return what happened.

    The options are the compiler's ``-m``, ``-a``, ``-n``, ``-t``. The compiled file gets the contract and the labels of ``path``;
    golden samples are left out, as the Edge TPU does not compute bit for bit like a CPU. Raises CompilerError if the compiler is
    missing, takes too long, or refuses the model (its own words are in the message).
    """
    start = find(image)
    source = container.read(path)
    flags = ["-s", "-t", str(timeout_s)]
    flags += ["-m", str(min_runtime)] if min_runtime is not None else []
    flags += ["-a"] if all_subgraphs else []
    flags += ["-n", str(segments)] if segments > 1 else []
    with tempfile.TemporaryDirectory(prefix="edgekit-edgetpu-") as scratch:
        model = Path(scratch) / f"{_stem(source.path)}.tflite"
        # The bare flatbuffer: packed files at its end are not the compiler's business.
        model.write_bytes(source.flatbuffer())
        command = _command(
            start, image, scratch, [*flags, "-o", _inside(image, scratch), f"{_inside(image, scratch)}/{model.name}"]
        )
        text = _run(command, timeout_s=timeout_s)
        log = edgetpu_log.parse(text)
        made = sorted(Path(scratch).glob("*_edgetpu.tflite"))
        if not made:
            said = "; ".join(log.errors) or (text.strip().splitlines() or ["it said nothing"])[-1]
            raise CompilerError(f"{path}: {PROGRAM} refuses the model: {said}; edgekit check {path} says why beforehand")
        files = tuple(_store(file, Path(folder), source, whole=segments == 1) for file in made)
    return Compiled(command=tuple(command), log=log, files=files)


def _command(start: Sequence[str], image: str | None, scratch: str, flags: Sequence[str]) -> list[str]:
    if image is None:
        return [*start, *flags]
    user = f"{os.getuid()}:{os.getgid()}"
    mount = f"{scratch}:/model"
    return [start[0], "run", "--rm", "--network=none", f"--user={user}", "-v", mount, image, PROGRAM, *flags]


def _inside(image: str | None, scratch: str) -> str:
    return "/model" if image is not None else scratch


def _run(command: Sequence[str], *, timeout_s: int) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s + 60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise CompilerError(
            f"{command[0]} did not end within {timeout_s + 60} s; give it more time or a smaller model"
        ) from error
    except OSError as error:
        raise CompilerError(f"{command[0]} cannot be started ({error.strerror})") from error
    return f"{done.stdout}\n{done.stderr}"


def _store(file: Path, folder: Path, source: container.Container, *, whole: bool) -> Path:
    """Write a compiled file to ``folder``, with metadata and contract if it is the whole model (a segment has other inputs)."""
    data = file.read_bytes()
    if whole:
        data = metadata_editing.add(data, _lost_metadata(data, source), where=file.name)
        if source.contract is not None:
            data = container.pack(data, source.contract.replace(golden=()))
    target = folder / file.name
    atomic_write(target, data)
    return target


def _lost_metadata(compiled: bytes, source: container.Container) -> dict[str, bytes]:
    """Entries of ``source`` that the compiled file has not: the standard metadata, the mark of a contract."""
    has = graph.read(compiled, where="the compiled model").metadata
    original = source.flatbuffer()
    return {
        name: bytes(original[start : start + size])
        for name, (start, size) in source.graph.metadata.items()
        if name not in has and name in (tflite_metadata.ENTRY, marker.NAME)
    }


def _stem(path: Path) -> str:
    return path.name.removesuffix(".tflite")
