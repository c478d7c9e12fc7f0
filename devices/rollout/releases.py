"""``edgekit status``, ``rollback`` and ``undeploy``: what is on a board, back to the release before, and nothing left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..doctor.probe import ask
from ..errors import BoardRefusedError, NoReleaseError
from ..texts import clean
from ..transport.session import DEFAULT_FOLDER, Session
from ..transport.shell import Shell
from . import service
from .deploy import model_path
from .environments import Options, Report, compare, difference, make_anew, plan
from .selftests import prove


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release on a board, as the board tells. ``damage``: what keeps it from being used, if anything."""

    id: str
    name: str
    sha256: str
    bytes: int
    runtime: str
    edgekit: str
    deployed_at: str
    environment: str
    previous: str | None
    selftested: bool
    damage: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a board holds. ``problem`` is set where the current release cannot work as it is; ``differing`` has what `status` found
    with ``verify``, None without.
    """

    target: str
    folder: str
    current: str | None
    previous: str | None
    releases: tuple[Release, ...]
    free_bytes: int
    weight_cache_bytes: int
    problem: str | None
    differing: tuple[str, ...] | None = None

    @property
    def is_good(self) -> bool:
        """Whether what is deployed can be used, as far as was looked at."""
        return self.problem is None and not self.differing

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        if not self.releases:
            return f"{self.target}: nothing is deployed"
        cached = f", {self.weight_cache_bytes >> 20} MiB of packed weights kept" if self.weight_cache_bytes else ""
        lines = [f"{self.target}: {self.folder}, {self.free_bytes >> 20} MiB free{cached}"]
        for release in reversed(self.releases):
            mark = "current " if release.id == self.current else "previous" if release.id == self.previous else "        "
            lines.append(f"  {mark} {_line(release)}")
            if release.damage and release.id != self.current:
                lines.append(f"           DAMAGED: {release.damage}; the next edgekit deploy removes it, the others can be used")
        if self.differing is not None and not self.differing:
            lines.append("  verified: every file of every release and of its environment is as it was sent")
        lines += [f"PROBLEM: {said}" for said in ((self.problem,) if self.problem else ()) + (self.differing or ())]
        return "\n".join(lines)


def status(shell: Shell, *, folder: str = DEFAULT_FOLDER, verify: bool = False) -> Status:
    """Return what is deployed. Changes nothing and waits for no lock.

    verify: compare every file of the releases, and of the environments that they use, with what was sent.
    """
    with Session(shell, folder=folder, lock=False) as session:
        state = session.ask("state")
        releases = tuple(_release(about) for about in state["releases"])
        current = next((release for release in releases if release.id == state["current"]), None)
        problem = _problem(session, state, current) if releases else None
        differing = tuple(_differing(session, releases, current)) if verify else None
    return Status(
        target=shell.name,
        folder=clean(str(state["root"])),
        current=current.id if current else None,
        previous=clean(str(state["previous"])) if state["previous"] else None,
        releases=releases,
        free_bytes=int(state["free_bytes"]),
        weight_cache_bytes=int(state["weight_cache_bytes"]),
        problem=problem,
        differing=differing,
    )


def rollback(shell: Shell, report: Report, *, folder: str = DEFAULT_FOLDER, to: str | None = None) -> tuple[str, str]:
    """Make an earlier release current again, once it has proved itself. Return the two names: from, to.

    to: a release's name or the beginning of one; default the release before the current one.

    Raises NoReleaseError where there is none; SelftestFailedError if it no longer answers as promised; SelftestNotRunError if that
    cannot be told.
    """
    with Session(shell, folder=folder) as session:
        state = session.ask("state")
        releases = tuple(_release(about) for about in state["releases"])
        wanted = _before(shell.name, state, releases) if to is None else _named(shell.name, to, releases)
        if session.ask("hash", release=wanted.id)["sha256"] != wanted.sha256:
            others = [
                release for release in releases if release not in (wanted, *_current(state, releases)) and not release.damage
            ]
            ways = f"; go to another: edgekit rollback --to RELEASE {shell.name} ({_list(others)})" if others else ""
            raise BoardRefusedError(
                f"{shell.name}: the model of {wanted.id} ({wanted.name}) is not as it was sent, the card has damaged it; deploy that"
                f" file again{ways}; nothing was changed there"
            )
        if wanted.selftested:
            path = model_path(session, wanted.id)
            prove(session, wanted.environment, path, report, lambda: _mend(session, wanted, folder, report))
        if wanted.id != state["current"]:
            session.ask("switch", release=wanted.id)
    return clean(str(state["current"] or "none")), wanted.id


def undeploy(shell: Shell, *, folder: str = DEFAULT_FOLDER) -> tuple[str, ...] | None:
    """Remove everything that deployments made on the board. Returns the names of what others put into the folder, which stays;
    None where no deployment made the folder.
    """
    with Session(shell, folder=folder, lock=False) as session:
        if not session.ask("state")["ours"]:
            return None
        root = str(session.hello["root"])
    service.remove(shell, root)
    with Session(shell, folder=folder) as session:
        return tuple(clean(str(name)) for name in session.ask("remove_all", timeout_s=600)["left"])


def _current(state: dict[str, Any], releases: tuple[Release, ...]) -> tuple[Release, ...]:
    return tuple(release for release in releases if release.id == state["current"])


def _before(name: str, state: dict[str, Any], releases: tuple[Release, ...]) -> Release:
    """Return the release to go back to where none is named. Raises NoReleaseError."""
    current, previous = state["current"], state["previous"]
    found = next((release for release in releases if release.id == previous), None)
    if found is not None:
        return found
    if not releases:
        raise NoReleaseError(f"{name}: nothing is deployed, so there is nothing to go back to; edgekit deploy FILE {name}")
    if current is None:
        raise NoReleaseError(
            f"{name}: none of the releases there is current, so there is none before it; there are {_list(releases)};"
            f" choose one: edgekit rollback --to RELEASE {name}"
        )
    others = [release for release in releases if release.id != current]
    more = (
        f"; there is also {_list(others)}: edgekit rollback --to RELEASE {name}, or deploy that file again"
        if others
        else "; nothing was changed"
    )
    raise NoReleaseError(f"{name}: {clean(str(current))} is current and stays so: there is none before it{more}")


def _named(name: str, to: str, releases: tuple[Release, ...]) -> Release:
    """Return the release that ``to`` names, whole or by its beginning. Raises NoReleaseError."""
    there = f"there are {_list(releases)}" if releases else "nothing is deployed there"
    found = [release for release in releases if release.id == to] or [
        release for release in releases if to and release.id.startswith(to)
    ]
    if not found:
        raise NoReleaseError(f"{name}: no release is called {clean(to)!r} or begins so; {there}; nothing was changed")
    if len(found) > 1:
        raise NoReleaseError(f"{name}: {clean(to)!r} is the beginning of {_list(found)}; name one; nothing was changed")
    if found[0].damage:
        whole = [release for release in releases if not release.damage]
        others = f"; whole are {_list(whole)}" if whole else ""
        raise NoReleaseError(f"{name}: {found[0].id} cannot be used: {found[0].damage}{others}; nothing was changed")
    return found[0]


def _list(releases: Iterable[Release]) -> str:
    return ", ".join(f"{release.id} ({release.name}{', damaged' if release.damage else ''})" for release in releases)


def _mend(session: Session, wanted: Release, folder: str, report: Report) -> bool:
    """Make anew what the card has damaged of a release's environment, if this edgekit makes the same. Raises BoardRefusedError."""
    found = compare(session, wanted.environment, report)
    if not found.layers:
        return False
    options = Options(folder=folder, runtime=None if wanted.runtime == "unknown" else wanted.runtime)
    planned = plan(session, ask(session.shell), options)
    if planned.key != wanted.environment:
        raise BoardRefusedError(
            f"{session.shell.name}: {found.text}; edgekit {wanted.edgekit} made it, and this one makes another:"
            f" deploy the file of {wanted.id} ({wanted.name}) again; nothing was changed there"
        )
    make_anew(session, planned, found, options, report)
    return True


def _problem(session: Session, state: dict[str, Any], current: Release | None) -> str | None:
    """Return why the current release cannot work as it is, as far as can be told at once."""
    name = session.shell.name
    back = f"deploy its file again, or go back: edgekit rollback {name}" if state["previous"] else "deploy its file again"
    if current is None:
        return f"no release is current (the link `current` is lost); edgekit rollback --to RELEASE {name}, or deploy again"
    if current.damage:
        return f"the current release is damaged ({current.damage}); {back}"
    if session.ask("hash", release=current.id)["sha256"] != current.sha256:
        return f"the model on the board's disk is not what was deployed; {back}"
    if not state["environment"]:
        return "the current release's environment is gone, or its record complete.json is; deploy again"
    if _minor(state["environment"].get("python")) != _minor(state["python"]):
        return f"the board's Python is now {clean(str(state['python']))}, the environment was made for another; deploy again"
    return None


def _differing(session: Session, releases: tuple[Release, ...], current: Release | None) -> list[str]:
    """Return what is not as it was sent: environments and models. The current release's problems are told apart."""
    found = []
    for key in dict.fromkeys(release.environment for release in releases if release.environment != "unknown"):
        users = ", ".join(release.id for release in releases if release.environment == key)
        if text := difference(session, key).text:
            found.append(f"{text}; used by {users}; deploy the file of one of them again")
    for release in releases:
        if release is current or release.damage:
            continue  # told already
        if session.ask("hash", release=release.id)["sha256"] != release.sha256:
            found.append(f"the model of {release.id} ({release.name}) is not as it was sent; deploy that file again to use it")
    return found


def _release(about: dict[str, Any]) -> Release:
    def text(key: str) -> str:
        return clean(str(about.get(key, "unknown")))

    size = about.get("bytes")
    previous = about.get("previous")
    return Release(
        id=text("id"),
        name=text("name"),
        sha256=text("sha256"),
        bytes=size if isinstance(size, int) else 0,
        runtime=text("runtime"),
        edgekit=text("edgekit"),
        deployed_at=text("deployed_at"),
        environment=text("environment"),
        previous=clean(str(previous)) if previous else None,
        selftested=about.get("selftested") is True,
        damage=clean(str(about["damage"])) if about.get("damage") else None,
    )


def _minor(version: object) -> list[str]:
    return str(version).split(".")[:2]


def _line(release: Release) -> str:
    if release.sha256 == "unknown":  # its record is lost
        return release.id
    tested = "" if release.selftested else ", not self-tested"
    size = f"{release.bytes / 1e6:.1f} MB"
    return f"{release.id}  {release.name} ({size}), {release.runtime}, {release.deployed_at}{tested}"
