"""edgekit's own runtime for the board: the rooms that work there, as this installation has them, in one archive, always the same bytes."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import DeviceError

# What a board runs. Predictions, the history, reports and the commands that only a workstation has (`edge.commands.workstation`)
# stay here, and so does all of `devices` but what the runtime imports.
ROOMS = ("artefact", "bench", "commands", "data", "live", "numbers", "runtime", "system", "validation")
OF_DEVICES = (
    *("__init__", "findings", "jsontext", "links", "manifests", "origin", "texts"),
    *("boards/__init__", "boards/coral_end", "boards/throttling"),
)
_SUFFIXES = {".py", ".typed", ".json", ".sh"}
_DATE = (1980, 1, 1, 0, 0, 0)


def pack() -> bytes:
    """Return the archive. Raises DeviceError if a package cannot be found as plain files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in _files():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def version() -> str:
    """Return edgekit's version, read from its source: importing it is not ours to do."""
    text = (_package("edge") / "version.py").read_text("utf-8")
    return text.partition('__version__ = "')[2].partition('"')[0]


def _files() -> Iterator[tuple[str, Path]]:
    edge, devices = _package("edge"), _package("devices")
    runtime = [path for folder in (edge, *(edge / room for room in ROOMS)) for path in folder.iterdir()]
    data = [devices / f"{name}.py" for name in OF_DEVICES] + [devices / "py.typed"]
    for path in sorted([*runtime, *data]):
        if path.suffix in _SUFFIXES and path.is_file():
            package = edge if edge in path.parents else devices
            yield f"{package.name}/{path.relative_to(package).as_posix()}", path


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    root = Path(spec.submodule_search_locations[0]) if spec is not None and spec.submodule_search_locations else None
    if root is None or not root.is_dir():
        raise DeviceError(f"the package {name} is not installed as files; reinstall edgekit with pip")
    return root
