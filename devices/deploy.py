"""``edgekit deploy``: from a file on the workstation to the current release on a board, or to no change at all.

The order is the promise: environment complete, artefact arrived and its SHA-256 compared there, golden samples replayed there,
everything on the disk, and only then one rename makes it current. Whatever stops it before that leaves the old release in place;
the next deployment clears the rest away.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import jsontext, payload, room, wheels
from .errors import BoardRefusedError, DeviceError, RemoteError
from .probe import BoardFacts, ask
from .session import DEFAULT_FOLDER, Session
from .shell import Shell, one_line
from .texts import clean

KEEP = 3
MAX_REPORT_BYTES = 16 << 20
_MODEL_MEMORY = 2.5  # the file, the kernels' packed copy of its weights, and the tensors between the ops
_PROCESS_MIB = 60
_SELFTEST_S = 1800.0
_UNPACK_S = 600.0

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
class Deployment:
    """What became of it. ``changed`` is False where this very release was current already."""

    target: str
    root: str
    release: str
    sha256: str
    previous: str | None
    changed: bool
    runtime: str
    selftest: dict[str, Any] | None
    removed: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "removed": list(self.removed)}

    def row(self) -> dict[str, str]:
        """Return the line of a table over several boards."""
        tested = "exact" if (self.selftest or {}).get("exact") is True else "passed" if self.selftest else "skipped"
        change = "deployed" if self.changed else "was there"
        return {
            "release": self.release,
            "": change,
            "self-test": tested,
            "runtime": self.runtime,
            "before": self.previous or "none",
        }

    def to_text(self) -> str:
        if not self.changed:
            return f"{self.target}: {self.release} is already the current release and answers as it should; nothing to do"
        back = f"; back to {self.previous} with: edgekit rollback {self.target}" if self.previous else ""
        tested = "its golden samples give the promised answers there" if self.selftest else "not self-tested, as asked"
        return f"{self.target}: {self.release} is now the current release ({tested}){back}"


class SelftestFailedError(DeviceError):
    """The board does not give the answers that travel with the artefact. A verdict: exit code 1."""

    exit_code = 1


def deploy(shell: Shell, artefact: Path, options: Options, report: Report) -> Deployment:
    """Deploy ``artefact``. Raises DeviceError and its kind; SelftestFailedError if the board's answers differ."""
    sha256 = check_artefact(artefact)
    shell.connect()
    facts = ask(shell)
    with Session(shell, folder=options.folder) as session:
        state = session.ask("state")
        environment = install(session, facts, options, report, free_bytes=int(state["free_bytes"]), artefact=artefact)
        current: dict[str, Any] = next((release for release in state["releases"] if release.get("id") == state["current"]), {})
        if _is_current(session, current, sha256, environment):
            return _already(session, current, environment, options, report)
        _check_memory(shell, facts, artefact)
        report(f"sending {artefact.name} ({artefact.stat().st_size / 1e6:.1f} MB)")
        session.upload(artefact, sha256)
        about = {
            "name": artefact.name,
            "bytes": artefact.stat().st_size,
            "environment": environment.key,
            "runtime": environment.runtime,
            "edgekit": payload.version(),
            "deployed_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "selftested": options.selftest,
        }
        staged = session.ask("stage", sha256_hex=sha256, about=about)
        answer = selftest(session, environment.key, str(staged["path"]), report) if options.selftest else None
        session.ask("switch", release=staged["id"])
        removed = session.ask("prune", keep=options.keep, timeout_s=_UNPACK_S)["removed"]
        return Deployment(
            target=shell.name,
            root=clean(str(state["root"])),
            release=clean(str(staged["id"])),
            sha256=sha256,
            previous=state["current"],
            changed=True,
            runtime=environment.runtime,
            selftest=answer,
            removed=tuple(removed),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment on the board."""

    key: str
    runtime: str


def install(
    session: Session, facts: BoardFacts, options: Options, report: Report, *, free_bytes: int, artefact: Path | None
) -> Environment:
    """See to it that the board has the environment for this edgekit, and room for it and the artefact; return it."""
    name = session.shell.name
    try:
        selected = wheels.select(python=facts.python, arch=facts.arch, glibc=facts.glibc, runtime=options.runtime)
    except BoardRefusedError as error:
        raise BoardRefusedError(f"{name}: {error}") from error
    missing = [module for module in selected.from_system if facts.first(f"has_{module}") is None]
    if missing:
        packages = " ".join({"numpy": "python3-numpy", "PIL": "python3-pil"}[module] for module in missing)
        raise BoardRefusedError(f"{name}: a 32-bit board takes these from its own packages: sudo apt-get install {packages}")
    runtime_files = payload.pack()
    payload_sha256 = hashlib.sha256(runtime_files).hexdigest()
    about = {
        "runtime": selected.runtime,
        "wheels": [wheel.file for wheel in selected.wheels],
        "board_python": ".".join(map(str, facts.python or ())),
        "arch": facts.arch,
        "edgekit": payload.version(),
        "payload": payload_sha256,
        "system_packages": bool(selected.from_system),
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
    needed = artefact.stat().st_size if artefact is not None else 0
    complete = bool(session.ask("environment", key=key)["complete"])
    files: dict[str, Path] = {}
    if not complete:
        report(f"getting {selected.runtime} for Python {about['board_python']} on {facts.arch}")
        files = wheels.fetch(selected.wheels, wheels.cache_folder() / "wheels", folder=options.wheels)
        needed += wheels.unpacked_bytes(files.values())
    if needed + room.MARGIN_BYTES > free_bytes:
        room.make(session, needed, environment=key)
    if not complete:
        _build(session, key, about, files, runtime_files, payload_sha256, report)
    return Environment(key=key, runtime=selected.runtime)


def _build(
    session: Session, key: str, about: dict[str, Any], files: dict[str, Path], runtime: bytes, runtime_sha256: str, report: Report
) -> None:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        packed = Path(folder) / "edgekit.zip"
        packed.write_bytes(runtime)
        everything = {**files, runtime_sha256: packed}
        report(f"sending the environment ({sum(path.stat().st_size for path in everything.values()) / 1e6:.1f} MB)")
        for sha256, path in everything.items():
            session.upload(path, sha256)
        report("setting up the environment")
        session.ask("begin_environment", key=key, system_packages=about["system_packages"], timeout_s=_UNPACK_S)
        for sha256 in everything:
            session.ask("add_wheel", key=key, sha256_hex=sha256, timeout_s=_UNPACK_S)
        session.ask("finish_environment", key=key, about=about, timeout_s=_UNPACK_S)


def selftest(session: Session, environment: str, path: str, report: Report) -> dict[str, Any]:
    """Replay the golden samples of a model on the board and return the report. Raises SelftestFailedError if they differ."""
    report("replaying the golden samples on the board")
    answer = run_edge(session, environment, ["selftest", path, "--json", "-"], timeout_s=_SELFTEST_S)
    name = session.shell.name
    said = one_line(str(answer["stderr"]))
    try:
        found = jsontext.loads(answer["stdout"], mend=True) if answer["stdout"] else None
    except ValueError:
        found = None
    if answer["returncode"] == 0 and isinstance(found, dict):
        return found
    # Code 1 alone is no verdict: Python ends with it too where the environment is damaged.
    if answer["returncode"] == 1 and isinstance(found, dict):
        raise SelftestFailedError(
            f"{name}: the board does not give the answers that travel with the model; nothing was changed there"
        )
    if answer["returncode"] < 0:
        raise RemoteError(
            f"{name}: the self-test was ended by signal {-answer['returncode']} (4: the processor lacks an instruction, 9: no memory,"
            f" 11: a crash in the interpreter); nothing was changed there{': ' + said if said else ''}"
        )
    said = said.removeprefix("edgekit: error: ")
    raise BoardRefusedError(
        f"{name}: the self-test could not run there (code {answer['returncode']}): {said or 'it says nothing'}"
    )


def run_edge(
    session: Session, environment: str, args: list[str], *, timeout_s: float, hear: Report | None = None
) -> dict[str, Any]:
    """Run ``python -m edge ARGS`` in an environment on the board; return ``returncode``, ``stdout`` and ``stderr``."""
    fields: dict[str, Any] = {"key": environment, "args": ["-m", "edge", *args], "limit_bytes": MAX_REPORT_BYTES}
    answer = session.ask("run", run_timeout_s=timeout_s, timeout_s=timeout_s + 60, hear=hear, **fields)
    return {"returncode": int(answer["returncode"]), "stdout": str(answer["stdout"]), "stderr": clean(str(answer["stderr"]))}


def check_artefact(path: Path) -> str:
    """Return the SHA-256 of a .tflite file. Raises DeviceError if it is none; the board looks closer."""
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
            stream.seek(0)
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DeviceError(f"{path}: cannot be read ({error.strerror})") from error
    if head[4:] != b"TFL3":
        raise DeviceError(f"{path}: not a .tflite file")
    return sha256


def _is_current(session: Session, current: dict[str, Any], sha256: str, environment: Environment) -> bool:
    if current.get("sha256") != sha256 or current.get("environment") != environment.key:
        return False
    # A file that the card damaged since is not what was deployed: it is deployed again, as a new release.
    return bool(session.ask("hash", release=str(current["id"]))["sha256"] == sha256)


def _already(session: Session, current: dict[str, Any], environment: Environment, options: Options, report: Report) -> Deployment:
    path = model_path(session, str(current["id"]))
    answer = selftest(session, environment.key, path, report) if options.selftest else None
    removed = session.ask("prune", keep=options.keep)["removed"]
    return Deployment(
        target=session.shell.name,
        root=clean(str(session.hello["root"])),
        release=clean(str(current["id"])),
        sha256=str(current["sha256"]),
        previous=current.get("previous"),
        changed=False,
        runtime=environment.runtime,
        selftest=answer,
        removed=tuple(removed),
    )


def model_path(session: Session, release: str) -> str:
    """Return where a release's model lies on the board."""
    return f"{session.hello['root']}/releases/{release}/model.tflite"


def _check_memory(shell: Shell, facts: BoardFacts, artefact: Path) -> None:
    needed = int(artefact.stat().st_size * _MODEL_MEMORY / (1 << 20)) + _PROCESS_MIB
    if facts.memory_available_mib is not None and needed > facts.memory_available_mib:
        raise BoardRefusedError(
            f"{shell.name}: running {artefact.name} takes about {needed} MiB of memory, {facts.memory_available_mib} MiB are free;"
            " stop what else runs there, or quantize to int8"
        )
