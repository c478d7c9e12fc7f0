"""HDF5 files that hold Keras models or weights: opened only after looking that nothing in them points out of the file.

An HDF5 file can link to other files, keep a dataset's bytes in another file, and claim a dataset of any size in a few bytes. None
of that occurs in what Keras writes, and each would make a loader read what the user did not name.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from edge.errors import EdgeError

from ..errors import LoadError, UnsafeModelError, first_line

MAGIC = b"\x89HDF\r\n\x1a\n"
# What compile() and random layers add. Keras 3 writes it inside a layer too, where that layer is a model compiled on its own.
_TRAINING_STATE = frozenset({"optimizer_weights", "optimizer", "metrics", "_metrics", "seed_generator"})
MAX_OBJECTS = 500_000
MAX_BYTES = 8 << 30  # logical size of all datasets together; the network has 0.22 GB


@contextlib.contextmanager
def opened(path: Path, *, where: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading and check every link and dataset in it first.

    Raises LoadError when it is damaged (also where the block finds that out), UnsafeModelError when something leads out of it.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        size = path.stat().st_size if path.exists() else 0
        reason = str(error).split("(")[-1].rstrip(")")
        raise LoadError(f"{where}: not an intact HDF5 file, {size:,} bytes ({reason}); copy or export it again") from error
    with file:
        try:
            _check(file, where=where)
            yield file
        except EdgeError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError) as error:  # what h5py raises for damage, also while reading later
            size = path.stat().st_size
            raise LoadError(f"{where}: damaged inside ({first_line(error)}), {size:,} bytes; export it again") from error


def model_config(file: h5py.File, *, where: str) -> dict[str, Any] | None:
    """Return the parsed model configuration of a whole-model file, or None for a file of weights only."""
    text = file.attrs.get("model_config")
    if text is None:
        return None
    return parse_config(text, where=where)


def keras_version(file: h5py.File) -> str:
    """Return the version of Keras that wrote a whole-model file, an empty text where it does not say."""
    return _text(file.attrs.get("keras_version", file.get("model_weights", file).attrs.get("keras_version", "")))


def parse_config(text: Any, *, where: str) -> dict[str, Any]:
    """Return the JSON object in ``text``. Raises LoadError when it is none."""
    try:
        config = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise LoadError(f"{where}: its model configuration is not JSON ({first_line(error)}); export it again") from error
    if not isinstance(config, dict):
        raise LoadError(f"{where}: its model configuration is {type(config).__name__}, expected an object")
    return config


def is_by_layer(file: h5py.File) -> bool:
    """Whether weights are stored under layer names (Keras 2's layout, whole models and weights), not under a path of objects."""
    root = file.get("model_weights", file)
    return "layer_names" in root.attrs or "layer_names0" in root.attrs


def names(group: h5py.Group, key: str) -> list[str]:
    """Return a list of names that Keras keeps in attribute ``key``, in one piece or in numbered chunks."""
    if key in group.attrs:
        return [_text(name) for name in group.attrs[key]]
    found: list[str] = []
    chunk = 0
    while f"{key}{chunk}" in group.attrs:
        found.extend(_text(name) for name in group.attrs[f"{key}{chunk}"])
        chunk += 1
    return found


def arrays(file: h5py.File) -> dict[str, tuple[int, ...]]:
    """Return the path and shape of every weight in ``file``; the state of optimizers, metrics and random layers is left out."""
    found: dict[str, tuple[int, ...]] = {}

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not _is_training_state(path):
            found[path] = tuple(item.shape)

    file.visititems(visit)
    return found


def rename_groups(path: Path, new_names: Mapping[str, str]) -> None:
    """Give the groups of a checked file new names, in the file itself. new_names: by the last part of a group's path."""
    with h5py.File(path, "r+") as file:
        found: list[str] = []
        file.visit(lambda group: found.append(group) if group.rpartition("/")[2] in new_names else None)
        for group in found:
            above, _, last = group.rpartition("/")
            file.move(group, f"{above}/{new_names[last]}")


def _is_training_state(path: str) -> bool:
    """Whether ``path`` leads through such state; a layer may have the name of it, and stands in a group ``layers`` then."""
    above = ""
    for part in path.split("/")[:-1]:
        if part in _TRAINING_STATE and above != "layers":
            return True
        above = part
    return False


def size(shape: tuple[int, ...]) -> int:
    """Return the number of values in an array of ``shape``."""
    return math.prod(shape)


def layers(file: h5py.File) -> list[str]:
    """Return the names of the layers of a whole-model file, in its order."""
    return names(file.get("model_weights", file), "layer_names")


def layer_weights(file: h5py.File, *, where: str) -> Iterator[tuple[str, dict[str, np.ndarray[Any, Any]]]]:
    """Yield (layer, {weight name: array}) of a whole-model file in its order, one layer in memory at a time."""
    root = file.get("model_weights", file)
    for layer in layers(file):
        if layer not in root:
            raise LoadError(f"{where}: layer {layer!r} is listed and its weights are missing; the file is damaged")
        group = root[layer]
        yield layer, {name: _floats(group[name]) for name in names(group, "weight_names")}


def _floats(dataset: h5py.Dataset) -> np.ndarray[Any, Any]:
    """Return a dataset's values; bfloat16, which HDF5 knows as two bytes only, as float32."""
    values = np.asarray(dataset)
    if not _is_bfloat16(dataset):
        return values
    return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _is_bfloat16(dataset: h5py.Dataset) -> bool:
    return bool(dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2 and dataset.dtype.names is None)


def _check(file: h5py.File, *, where: str) -> None:
    stack: list[h5py.Group] = [file]
    seen = {h5py.h5o.get_info(file.id).addr}
    objects, total = 0, 0
    while stack:
        group = stack.pop()
        for name in group:
            objects += 1
            if objects > MAX_OBJECTS:
                raise LoadError(f"{where}: more than {MAX_OBJECTS:,} objects inside; Keras writes a few thousand")
            shown = f"{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                target = f"{getattr(link, 'filename', '')}{getattr(link, 'path', '')}"
                raise UnsafeModelError(f"{where}: {shown} is a link to {target!r}; Keras writes none, so it is not followed")
            item = group[name]
            if isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:
                    seen.add(address)
                    stack.append(item)
                continue
            if not isinstance(item, h5py.Dataset):
                raise LoadError(f"{where}: {shown} is a stored type, not weights")
            if item.external or item.is_virtual:
                raise UnsafeModelError(f"{where}: {shown} keeps its data in another file; Keras never does, so it is not read")
            if item.dtype.kind not in "fiub" and not _is_bfloat16(item):
                raise LoadError(f"{where}: {shown} holds {item.dtype}, expected numbers")
            total += item.nbytes
            if total > MAX_BYTES:
                raise LoadError(f"{where}: its weights claim more than {MAX_BYTES >> 30} GiB; InceptionResNetV2 has 0.2")


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
