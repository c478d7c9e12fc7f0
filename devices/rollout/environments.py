"""The environment of a release on a board: which one it needs, sending what is missing, and making anew what the card has damaged.

It has two layers. The wheels (interpreter, numpy, Pillow) are large and change seldom; several environments share them. The environment
itself is a virtual environment with edgekit's own files, so that a new edgekit sends little.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..boards.wheels import Selection, select
from ..doctor.probe import BoardFacts
from ..errors import BoardRefusedError
from ..texts import clean
from ..transport import room
from ..transport.session import DEFAULT_FOLDER, Session
from . import packed_weights, payload, wheels

KEEP = 3
LAYERS = ("wheels", "env")  # in the order in which they are made
_UNPACK_S = 600.0
_VERIFY_S = 1200.0  # 130 MB from a slow card, on a slow processor

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to deploy. ``runtime``: the interpreter package (default: the first that fits). ``wheels``: a folder to look in first."""

    folder: str = DEFAULT_FOLDER
    keep: int = KEEP
    runtime: str | None = None
    wheels: Path | None = None
    selftest: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment for a board. ``key`` and ``wheels_key`` name its layers; ``about`` and ``wheels_about`` are what makes them so."""

    key: str
    runtime: str
    wheels_key: str
    selection: Selection
    payload: bytes
    about: dict[str, Any]
    wheels_about: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a board has of an environment that is not as it was sent. ``layers``: those that differ; no text where all is well."""

    layers: tuple[str, ...]
    text: str


def plan(session: Session, facts: BoardFacts, options: Options) -> Environment:
    """Return the environment that this edgekit needs on a board. Raises BoardRefusedError where there is none for it."""
    name = session.shell.name
    try:
        selected = select(python=facts.python, arch=facts.arch, glibc=facts.glibc, runtime=options.runtime)
    except BoardRefusedError as error:
        raise BoardRefusedError(f"{name}: {error}") from error
    missing = [module for module in selected.from_system if facts.first(f"has_{module}") is None]
    if missing:
        packages = " ".join({"numpy": "python3-numpy", "PIL": "python3-pil"}[module] for module in missing)
        raise BoardRefusedError(f"{name}: a 32-bit board takes these from its own packages: sudo apt-get install {packages}")
    runtime_files = payload.pack()
    shared = {
        "runtime": selected.runtime,
        "wheels": [wheel.file for wheel in selected.wheels],
        "board_python": ".".join(map(str, facts.python or ())),
        "arch": facts.arch,
    }
    wheels_key = _key(shared)
    about = {
        **shared,
        "wheels_layer": wheels_key,
        "edgekit": payload.version(),
        "payload": hashlib.sha256(runtime_files).hexdigest(),
        "system_packages": bool(selected.from_system),
    }
    return Environment(
        key=_key(about),
        runtime=selected.runtime,
        wheels_key=wheels_key,
        selection=selected,
        payload=runtime_files,
        about=about,
        wheels_about=shared,
    )


def install(
    session: Session, facts: BoardFacts, options: Options, report: Report, *, free_bytes: int, artefact: Path | None
) -> Environment:
    """See to it that the board has the environment for this edgekit, and room for it and the artefact; return it."""
    wanted = plan(session, facts, options)
    there = session.ask("environment", key=wanted.key, wheels=wanted.wheels_key)
    missing = [layer for layer in LAYERS if not there[layer]]
    _make(session, wanted, missing, options, report, free_bytes=free_bytes, artefact=artefact)
    return wanted


def renew(session: Session, wanted: Environment, options: Options, report: Report) -> bool:
    """Compare the environment with what was sent, and make anew what differs. Returns whether anything did."""
    found = compare(session, wanted.key, report)
    if found.layers:
        make_anew(session, wanted, found, options, report)
    return bool(found.layers)


def make_anew(session: Session, wanted: Environment, found: Difference, options: Options, report: Report) -> None:
    """Make the layers that differ anew."""
    report(f"{found.text}; making it anew")
    free_bytes = int(session.ask("state")["free_bytes"])
    _make(session, wanted, found.layers, options, report, free_bytes=free_bytes, artefact=None)


def compare(session: Session, key: str, report: Report) -> Difference:
    """Return the `difference`, and say that it is looked for: that takes its time."""
    report("comparing the environment's files on the board with what was sent")
    return difference(session, key)


def difference(session: Session, key: str) -> Difference:
    """Compare every file of an environment on a board with what was sent."""
    answer = session.ask("verify", key=key, timeout_s=_VERIFY_S)
    layers, said = [], []
    for layer in LAYERS:
        found = answer.get(layer)
        if found is None:
            continue
        names, count = found["differing"], int(found["count"])
        if names is None:
            said.append("nothing tells what its files were (an older edgekit made it, or its complete.json is lost)")
        elif count:
            more = "" if count <= len(names) else ", ..."
            shown = ", ".join(clean(str(name)) for name in names)
            said.append(f"{count} file{'' if count == 1 else 's'} in {layer} not as sent ({shown}{more})")
        else:
            continue
        layers.append(layer)
    return Difference(layers=tuple(layers), text=f"environment {clean(key)}: {'; '.join(said)}" if said else "")


def _make(
    session: Session,
    wanted: Environment,
    layers: Collection[str],
    options: Options,
    report: Report,
    *,
    free_bytes: int,
    artefact: Path | None,
) -> None:
    """Send the layers and set them up, each beside its place, if there is room."""
    files: dict[str, Path] = {}
    needed = artefact.stat().st_size if artefact is not None else 0
    weights = packed_weights.disk_bytes(needed, wanted.runtime)
    if "wheels" in layers:
        report(f"getting {wanted.runtime} for Python {wanted.about['board_python']} on {wanted.about['arch']}")
        files = wheels.fetch(wanted.selection.wheels, wheels.cache_folder() / "wheels", folder=options.wheels)
        needed += wheels.unpacked_bytes(files.values())
    if needed + weights + room.MARGIN_BYTES > free_bytes:
        make_room = partial(room.make, session, environment=wanted.key, wheels=wanted.wheels_key)
        try:
            make_room(needed + weights)
        except BoardRefusedError:
            make_room(needed)
            if weights:
                report(f"no room for the model's packed weights ({weights >> 20} MiB): it will run from memory of its own")
    if "wheels" in layers:
        _send(session, "wheels", wanted, wanted.wheels_about, files, report)
    if "env" in layers:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            packed = Path(folder) / "edgekit.zip"
            packed.write_bytes(wanted.payload)
            _send(session, "env", wanted, wanted.about, {wanted.about["payload"]: packed}, report)


def _send(
    session: Session, layer: str, wanted: Environment, about: dict[str, Any], files: dict[str, Path], report: Report
) -> None:
    key = wanted.wheels_key if layer == "wheels" else wanted.key
    what = wanted.runtime if layer == "wheels" else "edgekit's own files"
    report(f"sending {what} ({sum(path.stat().st_size for path in files.values()) / 1e6:.1f} MB)")
    for sha256, path in files.items():
        session.upload(path, sha256)
    report(f"setting up {what}")
    system_packages = bool(wanted.about["system_packages"])
    session.ask(
        "begin_layer", layer=layer, key=key, wheels=wanted.wheels_key, system_packages=system_packages, timeout_s=_UNPACK_S
    )
    for sha256 in files:
        session.ask("add_wheel", layer=layer, key=key, sha256_hex=sha256, timeout_s=_UNPACK_S)
    session.ask("finish_layer", layer=layer, key=key, about=about, timeout_s=_UNPACK_S)


def _key(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
