"""``edgekit deploy``: from a file on the workstation to the current release on a board, or to no change at all.

The order is the promise: environment complete, artefact arrived and its SHA-256 compared there, golden samples replayed there,
everything on the disk, and only then one rename makes it current. Whatever stops it before that leaves the old release in place;
the next deployment clears the rest away.
"""

from __future__ import annotations

import datetime
import hashlib
import zipfile
import zlib
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .. import jsontext
from ..doctor.probe import BoardFacts, ask
from ..errors import BoardRefusedError, DeviceError
from ..texts import clean
from ..transport.session import Session
from ..transport.shell import Shell
from . import packed_weights, payload
from .environments import KEEP, Environment, Options, Report, install, plan, renew
from .selftests import SelftestFailedError, prove

__all__ = [
    "KEEP",
    "Deployment",
    "Options",
    "SelftestFailedError",
    "check_artefact",
    "check_samples",
    "deploy",
    "install",
    "model_path",
]
_PRUNE_S = 600.0
_MAX_CONTRACT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What became of it. ``changed`` is False where this very release was current already; ``mended`` is True where the card had
    damaged the environment, and it was made anew.
    """

    target: str
    root: str
    release: str
    sha256: str
    previous: str | None
    changed: bool
    mended: bool
    runtime: str
    selftest: dict[str, Any] | None
    removed: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "removed": list(self.removed)}

    def row(self) -> dict[str, str]:
        """Return the line of a table over several boards."""
        tested = "exact" if (self.selftest or {}).get("exact") is True else "passed" if self.selftest else "skipped"
        change = "deployed" if self.changed else "mended" if self.mended else "was there"
        return {
            "release": self.release,
            "": change,
            "self-test": tested,
            "runtime": self.runtime,
            "before": self.previous or "none",
        }

    def to_text(self) -> str:
        if not self.changed:
            done = "its environment was damaged and is made anew" if self.mended else "nothing to do"
            tested = " and answers as it should" if self.selftest else ""
            return f"{self.target}: {self.release} is already the current release{tested}; {done}"
        back = f"; back to {self.previous} with: edgekit rollback {self.target}" if self.previous else ""
        tested = "its golden samples give the promised answers there" if self.selftest else "not self-tested, as asked"
        return f"{self.target}: {self.release} is now the current release ({tested}){back}"


def deploy(shell: Shell, artefact: Path, options: Options, report: Report) -> Deployment:
    """Deploy ``artefact``. Raises DeviceError and its kind; SelftestFailedError if the board's answers differ."""
    sha256 = check_artefact(artefact)
    shell.connect()
    facts = ask(shell)
    with Session(shell, folder=options.folder) as session:
        state = session.ask("state")
        free_bytes = int(state["free_bytes"])
        wanted = plan(session, facts, options)
        current: dict[str, Any] = next((release for release in state["releases"] if release.get("id") == state["current"]), {})
        if _is_current(session, current, sha256, wanted):
            return _already(session, facts, current, options, report, free_bytes=free_bytes)
        _check_memory(shell, facts, artefact, wanted.runtime, free_bytes)  # before anything is sent
        environment = install(session, facts, options, report, free_bytes=free_bytes, artefact=artefact)
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
        proof = None
        if options.selftest:
            mend = partial(renew, session, environment, options, report)
            proof = prove(session, environment.key, str(staged["path"]), report, mend)
        session.ask("switch", release=staged["id"])
        removed = session.ask("prune", keep=options.keep, timeout_s=_PRUNE_S)["removed"]
        return Deployment(
            target=shell.name,
            root=clean(str(state["root"])),
            release=clean(str(staged["id"])),
            sha256=sha256,
            previous=_previous(session),
            changed=True,
            mended=proof is not None and proof.mended,
            runtime=environment.runtime,
            selftest=None if proof is None else proof.report,
            removed=tuple(removed),
        )


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


def check_samples(path: Path) -> None:
    """Raise DeviceError for a file without golden samples: nothing could be replayed, which a board would say only at the end."""
    try:
        with zipfile.ZipFile(path) as packed, packed.open("contract.json") as stream:
            contract = jsontext.loads(stream.read(_MAX_CONTRACT_BYTES))
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error):
        contract = None  # no zip behind the network, or none that can be read
    if not (isinstance(contract, dict) and contract.get("golden")):
        raise DeviceError(
            f"{path}: no contract with golden samples travels with it, so a board cannot be asked whether it computes the same;"
            " make it with edgekit quantize, or --skip-selftest deploys it as it is"
        )


def _is_current(session: Session, current: dict[str, Any], sha256: str, environment: Environment) -> bool:
    if current.get("sha256") != sha256 or current.get("environment") != environment.key:
        return False
    # A file that the card damaged since is not what was deployed: it is deployed again, as a new release.
    return bool(session.ask("hash", release=str(current["id"]))["sha256"] == sha256)


def _already(
    session: Session, facts: BoardFacts, current: dict[str, Any], options: Options, report: Report, *, free_bytes: int
) -> Deployment:
    """See to it that what is current already works: nothing but the environment can be amiss, and is compared even if it answers."""
    environment = install(session, facts, options, report, free_bytes=free_bytes, artefact=None)
    mended = renew(session, environment, options, report)
    proof = None
    if options.selftest:
        proof = prove(session, environment.key, model_path(session, str(current["id"])), report, lambda: False)
    removed = session.ask("prune", keep=options.keep, timeout_s=_PRUNE_S)["removed"]
    return Deployment(
        target=session.shell.name,
        root=clean(str(session.hello["root"])),
        release=clean(str(current["id"])),
        sha256=str(current["sha256"]),
        previous=_previous(session),
        changed=False,
        mended=mended or (proof is not None and proof.mended),
        runtime=environment.runtime,
        selftest=None if proof is None else proof.report,
        removed=tuple(removed),
    )


def _previous(session: Session) -> str | None:
    found = session.ask("state")["previous"]
    return None if found is None else clean(str(found))


def model_path(session: Session, release: str) -> str:
    """Return where a release's model lies on the board."""
    return f"{session.hello['root']}/releases/{release}/model.tflite"


def _check_memory(shell: Shell, facts: BoardFacts, artefact: Path, runtime: str, free_disk_bytes: int) -> None:
    needed = packed_weights.memory_bytes(artefact.stat().st_size, runtime, free_disk_bytes=free_disk_bytes) >> 20
    if facts.memory_available_mib is not None and needed > facts.memory_available_mib:
        raise BoardRefusedError(
            f"{shell.name}: running {artefact.name} takes about {needed} MiB of memory, {facts.memory_available_mib} MiB are free;"
            " stop what else runs there, or quantize to int8"
        )
