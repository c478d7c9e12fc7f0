"""Virtual environments on the board, the wheels that they share, and commands that run in them."""

from __future__ import annotations

import contextlib
import os
import platform
import select
import signal
import subprocess
import time
import venv
from pathlib import Path
from types import SimpleNamespace

from . import layers
from .disk import plain, remove, sha256
from .link import Answer, Link, Refused

_NAMED = 5  # how many files that differ are named


class Environments:
    """What can be asked about environments."""

    def __init__(self, root: Path, link: Link) -> None:
        self._root = root
        self._link = link
        self._hashes: dict[Path, str] = {}  # of the layer that is being made

    def environment(self, key: str, wheels: str) -> Answer:
        """Return whether an environment, and the wheels that it takes its packages from, are complete."""
        return {"env": layers.is_complete(self._place("env", key)), "wheels": layers.is_complete(self._place("wheels", wheels))}

    def begin_layer(self, layer: str, key: str, wheels: str, system_packages: bool) -> Answer:
        """Begin to make a layer beside its place: an empty folder for wheels, or a virtual environment that finds ``wheels``."""
        folder = self._place(layer, key)
        made = layers.beside(folder)
        remove(made)
        folder.parent.mkdir(exist_ok=True)
        self._hashes = {}
        if layer == "wheels":
            made.mkdir()
        else:
            _Builder(folder, system_packages=system_packages).create(made)
            # The link lies within the environment: Python resolves the line of a .pth file by its text, from wherever it was started.
            os.symlink(Path("..", "..", "wheels", plain(wheels)), made / "wheels")
            (_site(made) / "edgekit-wheels.pth").write_text(f"{Path('..', '..', '..', 'wheels')}\n", "utf-8")
        return {}

    def add_wheel(self, layer: str, key: str, sha256_hex: str) -> Answer:
        """Unpack a wheel (or edgekit's own files) that has arrived."""
        path = self._root / "uploads" / f"{plain(sha256_hex)}.part"
        if sha256(path) != sha256_hex:
            raise Refused("a wheel changed after it arrived", "damaged")
        made = layers.beside(self._place(layer, key))
        self._hashes |= layers.unpack(path, made if layer == "wheels" else _site(made))
        return {}

    def finish_layer(self, layer: str, key: str, about: Answer) -> Answer:
        """Put a layer in its place, once all of it is on the disk."""
        layers.finish(self._place(layer, key), {**about, "python": platform.python_version()}, self._hashes)
        return {}

    def verify(self, key: str) -> Answer:
        """Compare every file of an environment, and of its wheels, with what was written.

        Each layer has ``differing`` (None where nothing tells what was written) and their ``count``.
        """
        folder = self._place("env", key)
        places = {"env": folder}
        if (wheels := layers.wheels_of(folder)) is not None:
            places["wheels"] = self._place("wheels", wheels)
        found = {layer: layers.differing(place) for layer, place in places.items()}
        return {
            layer: {"differing": None if names is None else names[:_NAMED], "count": len(names or ())}
            for layer, names in found.items()
        }

    def forget_bytecode(self, key: str) -> Answer:
        """Remove what Python has made of the sources of an environment; it makes it again."""
        places = [self._place("env", key)]
        if (wheels := layers.wheels_of(places[0])) is not None:
            places.append(self._place("wheels", wheels))
        return {"removed": sum(map(layers.forget_bytecode, places))}

    def run(self, key: str, args: list[str], run_timeout_s: float, limit_bytes: int) -> Answer:
        """Run Python with ``args`` in an environment; what it says on stderr is passed on meanwhile.

        Ended when the workstation goes, it takes too long, or it says too much.
        """
        command = [str(self._place("env", key) / "bin" / "python"), "-I", *args]
        process = subprocess.Popen(
            command,
            cwd=self._root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "EDGEKIT_HOME": str(self._root / "cache")},
        )
        assert process.stdout is not None and process.stderr is not None
        names = {process.stdout.fileno(): "stdout", process.stderr.fileno(): "stderr"}
        said = {descriptor: bytearray() for descriptor in names}
        opened, deadline, problem = set(names), time.monotonic() + run_timeout_s, ""
        moving = time.monotonic()  # when it was last seen not to be stopped
        try:
            while (opened or process.poll() is None) and not problem:
                ready = select.select([*opened, self._link.descriptor], [], [], 1.0 if opened else 0.05)[0]
                self._link.check()
                for descriptor in opened.intersection(ready):
                    data = os.read(descriptor, 65536)
                    said[descriptor] += data
                    if names[descriptor] == "stderr" and data:
                        self._link.send({"say": data.decode("utf-8", "replace")})
                    if not data:
                        opened.discard(descriptor)
                if sum(map(len, said.values())) > limit_bytes:
                    problem = f"it said more than {limit_bytes >> 20} MiB"
                elif not _is_stopped(process.pid):
                    moving = time.monotonic()
                elif time.monotonic() > moving + self._link.silence_s:
                    problem = f"it was stopped (SIGSTOP) and not continued for {self._link.silence_s:g} s"
                if time.monotonic() > deadline:
                    problem = f"it did not end within {run_timeout_s:g} s"
        finally:
            if opened or process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
            process.stderr.close()
        if problem:
            raise Refused(f"python {' '.join(args[:3])}: {problem}", "failed")
        texts = {names[descriptor]: bytes(data).decode("utf-8", "replace") for descriptor, data in said.items()}
        return {"returncode": process.returncode, **texts}

    def _place(self, layer: str, key: str) -> Path:
        if layer not in ("env", "wheels"):
            raise Refused(f"{layer!r} is no layer", "bug")
        return self._root / layer / plain(key)


class _Builder(venv.EnvBuilder):
    """Makes a virtual environment without pip, beside its place: scripts name the place."""

    def __init__(self, folder: Path, *, system_packages: bool) -> None:
        super().__init__(system_site_packages=system_packages, symlinks=True, with_pip=False)
        self._name = folder.name

    def replace_variables(self, text: str, context: SimpleNamespace) -> str:
        return super().replace_variables(text, context).replace(f".{self._name}.new", self._name)


def _is_stopped(pid: int) -> bool:
    """Return whether a process has been stopped, as by SIGSTOP or a debugger. Source: proc_pid_stat(5), states T and t."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].lower() == b"t"
    except (OSError, IndexError):
        return False


def _site(environment: Path) -> Path:
    return next(environment.glob("lib/python3*/site-packages"))
