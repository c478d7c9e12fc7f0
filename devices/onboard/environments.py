"""Virtual environments on the board, and commands that run in them."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import time
import venv
import zipfile
from pathlib import Path

from .disk import plain, remove, sha256, site_name, write
from .link import Answer, Link, Refused


class Environments:
    """What can be asked about environments."""

    def __init__(self, root: Path, link: Link) -> None:
        self._root = root
        self._link = link

    def environment(self, key: str) -> Answer:
        """Return whether the environment is complete."""
        return {"complete": (self._env(key) / "complete.json").exists()}

    def begin_environment(self, key: str, system_packages: bool) -> Answer:
        """Make an empty virtual environment, without pip: wheels are unpacked into it."""
        folder = self._env(key)
        remove(folder)
        folder.parent.mkdir(exist_ok=True)
        venv.EnvBuilder(system_site_packages=system_packages, symlinks=True, with_pip=False).create(folder)
        return {}

    def add_wheel(self, key: str, sha256_hex: str) -> Answer:
        """Unpack a wheel (or edgekit's own files) that has arrived."""
        path = self._root / "uploads" / f"{plain(sha256_hex)}.part"
        if sha256(path) != sha256_hex:
            raise Refused("a wheel changed after it arrived", "damaged")
        site = next(self._env(key).glob("lib/python3*/site-packages"))
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = site_name(entry.filename)
                if name is None or entry.is_dir():
                    continue
                target = site / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, target.open("wb") as stream:
                    shutil.copyfileobj(source, stream, 1 << 20)
        return {}

    def finish_environment(self, key: str, about: Answer) -> Answer:
        """Mark the environment as complete, once all of it is on the disk."""
        os.sync()
        write(self._env(key) / "complete.json", json.dumps({**about, "python": platform.python_version()}))
        return {}

    def run(self, key: str, args: list[str], run_timeout_s: float, limit_bytes: int) -> Answer:
        """Run Python with ``args`` in an environment; what it says on stderr is passed on meanwhile.

        Ended when the workstation goes, it takes too long, or it says too much.
        """
        command = [str(self._env(key) / "bin" / "python"), "-I", *args]
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
                elif time.monotonic() > deadline:
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

    def _env(self, key: str) -> Path:
        return self._root / "env" / plain(key)
