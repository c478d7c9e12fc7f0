"""Folders of files whose SHA-256 are known: made beside, put in their place by renaming, compared with the disk later.

The mark `complete.json` is written last. It holds the SHA-256 of every file, computed while the files were unpacked, so that what a card
has done to them since can be named, and mended by making the folder again. The old one is in its place until the new one is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Container
from pathlib import Path

from .disk import folders, fsync, read_json, remove, sha256, site_name, write
from .link import PIECE_BYTES, Answer

MARK = "complete.json"
_FILES = "files"
_BYTECODE = "__pycache__"


def about(folder: Path) -> Answer | None:
    """Return what was said about a layer when it was made, without the list of its files; None where its mark cannot be read."""
    found = read_json(folder / MARK)
    return None if found is None else {name: value for name, value in found.items() if name != _FILES}


def is_complete(folder: Path) -> bool:
    """Return whether a layer is whole and knows its files. Those of older versions do not."""
    return _files(folder) is not None


def wheels_of(environment: Path) -> str | None:
    """Return which wheels an environment takes its packages from; None where it has its own, as those of older versions."""
    with contextlib.suppress(OSError):
        return Path(os.readlink(environment / "wheels")).name
    said = (about(environment) or {}).get("wheels_layer")  # the link is lost
    return said if isinstance(said, str) else None


def beside(folder: Path) -> Path:
    """Return where a layer is made."""
    return folder.with_name(f".{folder.name}.new")


def unpack(archive: Path, site: Path) -> dict[Path, str]:
    """Unpack a wheel (or edgekit's own files) into a folder. Returns the SHA-256 of each file, as it was in the archive."""
    found: dict[Path, str] = {}
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            name = site_name(entry.filename)
            if name is None or entry.is_dir():
                continue
            target = site / name
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with opened.open(entry) as source, target.open("wb") as stream:
                while data := source.read(PIECE_BYTES):
                    digest.update(data)
                    stream.write(data)
            found[target] = digest.hexdigest()
    return found


def finish(folder: Path, about: Answer, hashes: dict[Path, str]) -> None:
    """Mark the layer that was made beside ``folder`` as complete, once all of it is on the disk, and put it in its place.

    hashes: what `unpack` returned; what else is there (links, the few files of a virtual environment) is read.
    """
    made = beside(folder)
    files = {str(path.relative_to(made)): hashes.get(path) or _found(path) for path in _entries(made)}
    os.sync()
    write(made / MARK, json.dumps({**about, _FILES: files}))
    _place(folder)


def differing(folder: Path) -> list[str] | None:
    """Compare every file of a layer with what was written: the names of those that differ, None where nothing tells what was."""
    files = _files(folder)
    if files is None:
        return None
    found = {name: _found(folder / name) for name in files}
    return sorted(name if found[name] else f"{name} (missing, or not to be read)" for name in files if found[name] != files[name])


def forget_bytecode(folder: Path) -> int:
    """Remove what Python made of the sources, which no list knows, and makes again. Returns how many folders went."""
    made = [Path(place) / _BYTECODE for place, names, _ in os.walk(folder) if _BYTECODE in names]
    for path in made:
        remove(path)
    return len(made)


def heal(parent: Path, used: Container[str]) -> None:
    """Finish what was whole when it was interrupted, and remove what was not. A layer that is ``used`` stays, marked or not."""
    for path in folders(parent):
        if path.name.startswith(".") and path.name.endswith(".new"):
            if is_complete(path):
                _place(path.with_name(path.name[1 : -len(".new")]))
            else:
                remove(path)
    for path in folders(parent):
        if path.name.startswith(".") and path.name.endswith(".old"):
            folder = path.with_name(path.name[1 : -len(".old")])
            if os.path.lexists(folder):
                remove(path)
            else:
                os.rename(path, folder)
        elif path.name not in used and about(path) is None:
            remove(path)


def prune(parent: Path, used: Container[str]) -> None:
    """Remove the layers that are not ``used``."""
    for path in folders(parent):
        if path.name not in used:
            remove(path / MARK)  # from here on it is a rest, which the next session removes should we be stopped
            remove(path)


def _place(folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    if os.path.lexists(folder):
        remove(old)
        os.rename(folder, old)
    os.rename(beside(folder), folder)
    fsync(folder.parent)
    remove(old)


def _files(folder: Path) -> dict[str, object] | None:
    files = (read_json(folder / MARK) or {}).get(_FILES)
    return files if isinstance(files, dict) else None


def _entries(folder: Path) -> list[Path]:
    found: list[Path] = []
    for place, names, files in os.walk(folder):
        found += [Path(place, name) for name in files]
        found += [path for path in (Path(place, name) for name in names) if path.is_symlink()]
    return found


def _found(path: Path) -> str:
    """Return the SHA-256 of a file, where a link leads, or nothing where neither can be read."""
    with contextlib.suppress(OSError, ValueError):
        return f"-> {os.readlink(path)}" if path.is_symlink() else sha256(path)
    return ""
