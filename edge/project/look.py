"""Looks at a folder for ``edgekit init``: which network, photos, labels and artefacts are there. Opens no network, changes nothing."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data.picture_kinds import readable
from .settings import SECTIONS, SETTINGS, Setting

_NETWORKS = (".keras", ".h5", ".hdf5")
_WEIGHTS_ONLY = ".weights.h5"
_LABELS = ("labels.txt", "classes.txt", "labels.csv", "labelmap.txt")
_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training", "trainset"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing", "testset", "holdout"),
}
_DEPTH = 3  # folders below this one
_MOST_ENTRIES = 20_000  # that are looked at, so that a home folder or a network disk ends
_NOT_OURS = frozenset({"node_modules", "__pycache__", "site-packages", "venv", "env", "build", "dist"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was seen. ``values``: setting -> value, as TOML writes it. ``notes``: what was to choose from."""

    values: Mapping[str, str]
    notes: tuple[str, ...]


def look(folder: Path) -> Found:
    """Look through ``folder``, three levels deep and at most 20,000 entries."""
    files, folders = _walk(folder)
    values: dict[str, str] = {}
    notes: list[str] = []
    networks = [
        *(path for path in files if path.suffix.lower() in _NETWORKS and not path.name.endswith(_WEIGHTS_ONLY)),
        *(path for path in folders if (path / "saved_model.pb").is_file()),
    ]
    if networks:
        newest = max(networks, key=lambda path: path.stat().st_mtime)
        values["model.file"] = _text(newest, folder)
        if len(networks) > 1:
            notes.append(f"{len(networks)} networks are here; the newest is taken: {_near(newest, folder)}")
    for key, names in _NAMES.items():
        photos = [path for path in folders if path.name.lower() in names and _has_pictures(path)]
        if photos:
            first = min(photos, key=lambda path: (len(path.parts), str(path)))
            values[f"photos.{key}"] = _text(first, folder)
            if len(photos) > 1:
                notes.append(f"{len(photos)} folders could be photos.{key}; {_near(first, folder)} is taken")
    labels = sorted((path for path in files if path.name.lower() in _LABELS), key=lambda path: (len(path.parts), str(path)))
    if labels:
        values["model.labels"] = _text(labels[0], folder)
    made = [path for path in files if path.suffix == ".tflite"]
    small = [path for path in made if ".int8" in path.name]
    if small:
        artefact = max(small, key=lambda path: path.stat().st_mtime)
        values["artefact.file"] = _text(artefact, folder)
        float32 = artefact.with_name(artefact.name.split(".int8")[0] + ".float32.tflite")
        if float32 in made:
            values["artefact.reference"] = _text(float32, folder)
    return Found(values=values, notes=tuple(notes))


def written(found: Found) -> str:
    """Return the text of an ``edgekit.toml``: what was found, and everything else as a comment."""
    values = {**_planned(found.values), **found.values}
    lines = [
        "# What edgekit's commands take where their command line says nothing. Flags win; paths are relative to this file.",
        "# Lines that begin with # are examples. No passwords or tokens belong here: ssh has its own keys.",
    ]
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        lines += [_line(setting, values) for setting in SETTINGS if setting.section == section]
    return "\n".join(lines) + "\n"


def _planned(values: Mapping[str, str]) -> dict[str, str]:
    """Return where the artefact will be that ``edgekit quantize`` makes of the network."""
    planned = {"gate.max_drop": "0.01", "make.out": '"out"'}
    if "model.file" in values:
        stem = Path(values["model.file"].strip('"')).stem
        planned["artefact.file"] = f'"out/{stem}.int8.tflite"'
        planned["artefact.reference"] = f'"out/{stem}.float32.tflite"'
    return planned


def _line(setting: Setting, values: Mapping[str, str]) -> str:
    begin = f"{setting.key} = {values[setting.name]}" if setting.name in values else f"# {setting.key} = {setting.example}"
    return f"{begin:<44}  # {setting.help}"


def _walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return files and folders; nothing hidden, and no environment of Python's or Node's."""
    files: list[Path] = []
    folders: list[Path] = []
    for path in itertools.islice(_entries(folder, _DEPTH), _MOST_ENTRIES):
        (folders if path.is_dir() else files).append(path)
    return files, folders


def _entries(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            here = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError:
        return
    inside: list[Path] = []
    for entry in here:
        if entry.is_dir(follow_symlinks=True):
            if entry.name in _NOT_OURS:
                continue
            inside.append(Path(entry.path))
        yield Path(entry.path)
    # Class folders of thousands of photos need not be listed: a network or a photo folder is beside them, not inside.
    named = {name for names in _NAMES.values() for name in names}
    for path in inside if depth else ():
        if path.name.lower() not in named:
            yield from _entries(path, depth - 1)


def _has_pictures(folder: Path) -> bool:
    kinds = readable()
    return any(path.suffix.lower() in kinds for path in itertools.islice(_entries(folder, 1), _MOST_ENTRIES))


def _near(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _text(path: Path, folder: Path) -> str:
    """Return a path as a TOML string."""
    near = _near(path, folder)
    return (
        '"'
        + "".join(f"\\{each}" if each in '"\\' else each if each.isprintable() else f"\\U{ord(each):08X}" for each in near)
        + '"'
    )
