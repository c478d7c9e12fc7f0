"""``edgekit status``, ``rollback`` and ``undeploy``: what is on a board, back to the release before, and nothing left."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from . import service
from .deploy import Report, model_path, selftest
from .errors import NoReleaseError
from .session import DEFAULT_FOLDER, Session
from .shell import Shell
from .texts import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release on a board, as the board tells."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a board holds. ``problem`` is set where the current release cannot work as it is."""

    target: str
    folder: str
    current: str | None
    previous: str | None
    releases: tuple[Release, ...]
    free_bytes: int
    problem: str | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        if not self.releases:
            return f"{self.target}: nothing is deployed"
        lines = [f"{self.target}: {self.folder}, {self.free_bytes >> 20} MiB free"]
        for release in reversed(self.releases):
            mark = "current " if release.id == self.current else "previous" if release.id == self.previous else "        "
            tested = "" if release.selftested else ", not self-tested"
            size = f"{release.bytes / 1e6:.1f} MB"
            lines.append(f"  {mark} {release.id}  {release.name} ({size}), {release.runtime}, {release.deployed_at}{tested}")
        if self.problem:
            lines.append(f"PROBLEM: {self.problem}")
        return "\n".join(lines)


def status(shell: Shell, *, folder: str = DEFAULT_FOLDER) -> Status:
    """Return what is deployed. Changes nothing and waits for no lock."""
    with Session(shell, folder=folder, lock=False) as session:
        state = session.ask("state")
        releases = tuple(_release(about) for about in state["releases"])
        problem = None
        current = next((release for release in releases if release.id == state["current"]), None)
        if current is not None:
            if session.ask("hash", release=current.id)["sha256"] != current.sha256:
                problem = "the model on the board's disk is not what was deployed; deploy it again"
            elif not state["environment"]:
                problem = "the current release's environment is gone; deploy again"
            elif _minor(state["environment"].get("python")) != _minor(state["python"]):
                problem = (
                    f"the board's Python is now {clean(str(state['python']))}, the environment was made for another; deploy again"
                )
    return Status(
        target=shell.name,
        folder=clean(str(state["root"])),
        current=current.id if current else None,
        previous=clean(str(state["previous"])) if state["previous"] else None,
        releases=releases,
        free_bytes=int(state["free_bytes"]),
        problem=problem,
    )


def rollback(shell: Shell, report: Report, *, folder: str = DEFAULT_FOLDER) -> tuple[str, str]:
    """Make the release before the current one current again, once it has proved itself. Return the two names: from, to.

    Raises NoReleaseError where there is none; SelftestFailedError if it no longer answers as promised.
    """
    with Session(shell, folder=folder) as session:
        state = session.ask("state")
        current, previous = state["current"], state["previous"]
        if current is None:
            raise NoReleaseError(
                f"{shell.name}: nothing is deployed, so there is nothing to go back to; edgekit deploy FILE {shell.name}"
            )
        if previous is None:
            others = ", ".join(clean(f"{about.get('name')}") for about in state["releases"] if about.get("id") != current)
            more = f"; to use what is still there ({others}), deploy that file again" if others else "; nothing was changed"
            raise NoReleaseError(f"{shell.name}: {clean(current)} is current and stays so: there is none before it{more}")
        wanted = next(_release(about) for about in state["releases"] if about.get("id") == previous)
        if wanted.selftested:
            selftest(session, wanted.environment, model_path(session, previous), report)
        session.ask("switch", release=previous)
    return clean(str(current)), clean(str(previous))


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
    )


def _minor(version: object) -> list[str]:
    return str(version).split(".")[:2]
