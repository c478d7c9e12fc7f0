"""How the workstation gets the wheels of a board's environment: `devices.boards.wheels` says which."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .. import own_python
from ..boards.wheels import PinnedWheel
from ..errors import DeviceError
from ..transport.shell import one_line

_FETCH_S = 600
_UNPACKED = 4  # a wheel takes about this many times its size when unpacked


def fetch(wheels: Iterable[PinnedWheel], cache: Path, *, folder: Path | None = None) -> dict[str, Path]:
    """Return the files of ``wheels`` by SHA-256; what is not in ``folder`` or ``cache`` yet is fetched with pip.

    Raises DeviceError if one cannot be had; it says how to get it on another machine.
    """
    found: dict[str, Path] = {}
    for wheel in wheels:
        places = [place / wheel.file for place in (folder, cache) if place is not None]
        path = next((place for place in places if place.is_file() and _sha256(place) == wheel.sha256), None)
        found[wheel.sha256] = path or _download(wheel, cache)
    return found


def unpacked_bytes(files: Iterable[Path]) -> int:
    """Return about how much an environment of these wheels takes."""
    return sum(path.stat().st_size for path in files) * _UNPACKED


def cache_folder() -> Path:
    """Return where fetched wheels and virtual boards are kept: ``EDGEKIT_HOME``, else ``edgekit`` in the user's cache folder."""
    home = os.environ.get("EDGEKIT_HOME")
    if home:
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit"


def _download(wheel: PinnedWheel, cache: Path) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    by_hand = f"fetch {wheel.file} where there is a network (pip download), and name its folder with --wheels"
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", "utf-8")
        command = own_python.command("pip", "download", "--disable-pip-version-check", "--quiet", "--no-input", "--no-deps")
        command += ["--require-hashes", "--only-binary=:all:", "--implementation", "cp", "--abi", wheel.python]
        command += ["--python-version", wheel.python.removeprefix("cp3").join(("3.", ""))]
        for tag in wheel.platforms:
            command += ["--platform", tag]
        command += ["--dest", folder, "--requirement", str(requirements)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_FETCH_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{wheel.file} could not be fetched within {_FETCH_S} s; {by_hand}") from error
        path = Path(folder) / wheel.file
        if done.returncode != 0 or not path.is_file():
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise DeviceError(f"{wheel.file} could not be fetched: {one_line(said[-1] if said else done.stderr)}; {by_hand}")
        target = cache / wheel.file
        shutil.move(path, target)
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
