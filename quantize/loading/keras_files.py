"""Whole Keras models from files: ``.keras`` (Keras 3, and tf_keras), ``.h5`` (Keras 2 and 3).

No loader of Keras ever opens the user's file. Its configuration is read here as JSON, scanned, brought up to date, and built by
Keras in safe mode; weights are set from HDF5 datasets that were checked first.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import platform
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge import files
from edge.errors import EdgeError, OutputError
from edge.system import zips

from ..errors import LoadError, UnsafeModelError, first_line
from ..quiet import import_keras, quiet
from . import h5_files, keras_config, keras_forms, keras_rewrite, keras_weights
from .config_scan import Known, scan_config
from .io_specs import check_order

MAX_CONFIG_BYTES = 64 << 20
MAX_WEIGHTS_BYTES = h5_files.MAX_BYTES
MAX_MEMBERS = 10_000

# What marshal says of bytecode of another version of Python, and base64 of what is none.
_UNREADABLE_CODE = re.compile(r"marshal data|bad marshal|code object|incorrect padding|EOF read where|unknown opcode", re.I)

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def known() -> Known:
    """What the installed Keras has, for the scan."""
    keras = import_keras()
    modules = ("layers", "initializers", "regularizers", "constraints", "activations", "dtype_policies")
    classes = {name for module in modules for name, item in vars(getattr(keras, module)).items() if inspect.isclass(item)}
    return Known(classes=frozenset(classes), activation=_is_activation, registered=_is_registered)


def load_zip(
    path: Path, *, input_shape: tuple[int, int, int] | None, allow_code: bool, where: str
) -> tuple[Any, tuple[str, ...]]:
    """Load a ``.keras`` archive. Returns the model and notes; raises LoadError or UnsafeModelError."""
    with _opened(path, where=where) as archive:
        config = h5_files.parse_config(archive.read(_CONFIG), where=where)
        old = _is_keras2(_version(archive, where=where))
        model, notes = build(config, input_shape=input_shape, legacy=old, keras_2=old, allow_code=allow_code, where=where)
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            weights = Path(folder) / _WEIGHTS
            with archive.open(_WEIGHTS) as packed, weights.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
            load_weights(model, weights, keras_2=old, where=where)
    return model, notes


def stored_config(path: Path, *, where: str) -> dict[str, Any]:
    """Return the configuration in a ``.keras`` archive, as it is stored. Raises as `load_zip` does for a damaged one."""
    with _opened(path, where=where) as archive:
        return h5_files.parse_config(archive.read(_CONFIG), where=where)


@contextlib.contextmanager
def _opened(path: Path, *, where: str) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose members are what Keras writes. Raises LoadError where it is damaged, also where the block finds it."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, where=where)
            yield archive
    except EdgeError:
        raise
    except zips.DAMAGED as error:
        if files.is_full(error):
            raise files.full(error, f"the weights of {where}, unpacked into {tempfile.gettempdir()} (TMPDIR)") from error
        reason = first_line(error)
        raise LoadError(f"{where}: damaged archive, {path.stat().st_size:,} bytes ({reason}); copy or save it again") from error


def save(model: Any, path: Path) -> None:
    """Write a model as a ``.keras`` archive, beside and renamed. Raises OutputError where it cannot be written."""
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with quiet():
            try:
                model.save(beside)
                os.replace(beside, path)
            except OSError as error:
                raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        beside.unlink(missing_ok=True)


def load_h5(path: Path, *, input_shape: tuple[int, int, int] | None, allow_code: bool, where: str) -> tuple[Any, tuple[str, ...]]:
    """Load a whole-model ``.h5``. Returns the model and notes; raises LoadError or UnsafeModelError."""
    with h5_files.opened(path, where=where) as file:
        config = h5_files.model_config(file, where=where)
        if config is None:
            raise LoadError(f"{where}: holds weights without their network; name it with --architecture inception_resnet_v2")
        # Keras 3 writes .h5 with layers as Keras 2 does, so both take the path for old configurations.
        stored = h5_files.layers(file)
        model, notes = build(
            config,
            input_shape=input_shape,
            legacy=True,
            keras_2=not h5_files.keras_version(file).startswith("3."),
            allow_code=allow_code,
            where=where,
            stored_layers=stored,
        )
        weights = keras_forms.renamed(h5_files.layer_weights(file, where=where), keras_forms.renames(config, where=where))
        return model, notes + keras_weights.assign(model, weights, where=where)


def build(
    config: dict[str, Any],
    *,
    input_shape: tuple[int, int, int] | None,
    legacy: bool,
    keras_2: bool,
    allow_code: bool,
    where: str,
    stored_layers: Sequence[str] = (),
) -> tuple[Any, tuple[str, ...]]:
    """Scan a model configuration and build the model, weights still random.

    input_shape: (height, width, channels), or None for the one in the file. legacy: the configuration has Keras 2's form.
    keras_2: Keras 2 wrote it, so that names of activations mean what they mean there.
    stored_layers: the layers that the weights file names, in order.
    """
    has = known()
    notes = scan_config(config, where=where, known=has, allow_code=allow_code)
    try:
        config, formed = keras_forms.usual(config, where=where, stored=stored_layers)
        notes += formed
        if legacy:
            keras_forms.register()
            config = keras_forms.restated(config, keras_2=keras_2, where=where)
        stored = keras_config.spatial_shape(config, where=where)
        check_order(stored, where=where)
        at = None if input_shape in (None, stored) else input_shape
        if at is None:
            check_size(config, stored, where=where)
        prepared, changes = keras_rewrite.prepare(config, input_shape=at, legacy=legacy, where=where)
    except LoadError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise LoadError(f"{where}: its model configuration is malformed ({error!r}); save the model again") from error
    scan_config(prepared, where=where, known=has, allow_code=allow_code, residual_lambdas=False)
    return build_from(prepared, allow_code=allow_code, at=at, where=where), notes + changes


def check_size(config: Mapping[str, Any], stored: Sequence[int | None], *, where: str) -> None:
    """Raise LoadError where a configuration leaves the size of its picture open, and nobody says it."""
    if None in stored:
        raise LoadError(
            f"{where}: input layer {keras_config.input_name(config)!r} leaves its size open, {_shape(tuple(stored))};"
            " a board needs a fixed one: give --input-shape HEIGHTxWIDTH"
        )


def build_from(prepared: dict[str, Any], *, allow_code: bool, at: tuple[int, int, int] | None, where: str) -> Any:
    """Build the model of a configuration that was scanned and prepared. ``at``: the input shape asked for, for messages."""
    keras = import_keras()
    with quiet():
        try:
            return keras.saving.deserialize_keras_object(prepared, safe_mode=not allow_code)
        except Exception as error:  # Keras raises many types for a configuration that it cannot build
            if allow_code and _UNREADABLE_CODE.search(str(error)):
                raise LoadError(
                    f"{where}: it has Lambda layers whose bytecode this Python {platform.python_version()} cannot read"
                    f" ({first_line(error)}): it was written by another version of Python; open it there and save it with"
                    " built-in layers in their place, or without them"
                ) from error
            size = f" at input shape {_shape(at)}" if at else ""
            raise LoadError(f"{where}: Keras {keras.__version__} cannot build this network{size}: {first_line(error)}") from error


def load_weights(model: Any, path: Path, *, keras_2: bool = False, where: str) -> None:
    """Set the weights of ``model`` from a file of weights only, in Keras' own order, after checking the file.

    Both layouts are taken, whatever the file is called: Keras tells them apart by name, and Keras 2 up to TensorFlow 2.12 wrote
    its own layout as ``.weights.h5`` too. keras_2: Keras 2 wrote it as part of an archive, and ``path`` is a copy that may be changed.

    Raises LoadError when they do not fit: another count, another shape, another number of values altogether.
    """
    with h5_files.opened(path, where=where) as file:
        stored = sum(h5_files.size(shape) for shape in h5_files.arrays(file).values())
        suffix = ".h5" if h5_files.is_by_layer(file) else ".weights.h5"
    expected = sum(h5_files.size(tuple(variable.shape)) for variable in model.weights)
    if stored != expected:
        raise LoadError(
            f"{where}: has {stored:,} weights, the network has {expected:,}; they do not belong together"
            " (check classes, input shape, and whether the top is included)"
        )
    if keras_2:
        h5_files.rename_groups(path, keras_forms.ATTRIBUTES)
    with quiet(), tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        named = Path(folder) / f"network{suffix}"
        named.symlink_to(path.resolve())
        try:
            model.load_weights(named)
        except Exception as error:  # as in build
            raise LoadError(f"{where}: the weights do not fit the network: {first_line(error)}") from error


def _version(archive: zipfile.ZipFile, *, where: str) -> str:
    """Return the version of Keras that wrote the archive, or an empty text."""
    if _METADATA not in archive.namelist() or archive.getinfo(_METADATA).file_size > 1 << 20:
        return ""
    return str(h5_files.parse_config(archive.read(_METADATA), where=where).get("keras_version", ""))


def _is_keras2(version: str) -> bool:
    return version.startswith("2.")


def _check_members(archive: zipfile.ZipFile, *, where: str) -> None:
    """Hold the archive to what Keras writes: few members, plain files, inside, no larger than a network can be."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(members) > MAX_MEMBERS or len(set(names)) != len(names):
        raise UnsafeModelError(f"{where}: {len(members)} members, some twice or far too many; Keras writes a handful")
    for member in members:
        name = member.filename
        if name.startswith(("/", "\\")) or ".." in Path(name).parts or ":" in name or "\\" in name:
            raise UnsafeModelError(f"{where}: member {name!r} points outside the archive")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UnsafeModelError(f"{where}: member {name!r} is a symbolic link; Keras writes none")
        if member.flag_bits & 1:
            raise LoadError(f"{where}: member {name!r} is encrypted; save the model again without a password")
    for name, limit in ((_CONFIG, MAX_CONFIG_BYTES), (_WEIGHTS, MAX_WEIGHTS_BYTES)):
        if name not in names:
            found = ", ".join(names[:5]) or "nothing"
            raise LoadError(
                f"{where}: a zip without {name} (it has {found}): no Keras model; save it with model.save('NAME.keras')"
            )
        member = archive.getinfo(name)
        # Keras stores without compression; deflate reaches about 1:1000 only on made-up data.
        if member.file_size > limit or member.file_size > (16 << 20) and member.file_size > 50 * max(1, member.compress_size):
            raise UnsafeModelError(
                f"{where}: member {name!r} would unpack to {member.file_size:,} bytes from {member.compress_size:,}"
            )


def _shape(shape: tuple[int | None, ...] | None) -> str:
    return "x".join("?" if value is None else str(value) for value in shape or ())


def _is_activation(name: str) -> bool:
    keras = import_keras()
    try:
        keras.activations.get(name)
    except (ValueError, TypeError):
        return False
    return True


def _is_registered(name: str) -> bool:
    return import_keras().saving.get_registered_object(name) is not None
