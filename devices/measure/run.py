"""The runtime's commands in a session with a board: what they need is sent (once), their reports are fetched and cleaned.

A float reference is run on the workstation and only its answers are sent. What comes back is not trusted: its size is limited, and
what reaches the terminal is cleaned of escapes.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .. import jsontext, own_python
from ..errors import BoardConnectionError, DeviceError, RemoteError
from ..rollout.deploy import check_artefact
from ..rollout.selftests import MAX_REPORT_BYTES, run_edge
from ..texts import clean
from ..transport import room
from ..transport.session import Session
from ..transport.shell import one_line
from . import digests, images
from .images import Listing
from .request import ON_THE_BOARD, Request

_TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """How a command ended, on a board or here: its exit code, what it printed, and its report."""

    code: int
    text: str
    report: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardRun:
    """A request in a session. ``environment`` and ``model`` are what `deploy` made and sent; ``listing`` the images of this machine
    that it is about (`listed`); ``scratch`` is a folder of this machine that goes with it.
    """

    session: Session
    environment: str
    model: str
    request: Request
    listing: Listing | None
    scratch: Path
    report: Callable[[str], None]

    def verb(
        self, listing: Listing | None, *, reference: Path | None = None, flags: Sequence[str] = (), quiet: bool = False
    ) -> Answered:
        """Run the request's command on the board. listing: the images to send. reference: stored answers (.npz) to send."""
        where, request = self.session.shell.name, self.request
        args = [request.verb, self.model, *request.flags, *self._there(), *self._images(listing, quiet=quiet)]
        sent = None if reference is None else self.send(reference, ".npz")
        if sent is not None:
            args += ["--reference", sent]
        name = f"report-{request.sha256[:12]}.json"
        args += [*flags, "--json", f"{self.session.hello['root']}/cache/{name}"]
        if not quiet:
            self.report(f"{request.verb} runs on the board")
        room.trim(self.session)
        answer = run_edge(self.session, self.environment, args, timeout_s=_TIMEOUT_S, hear=None if quiet else self._hear)
        if answer["returncode"] not in (0, 1):
            raise RemoteError(f"{where}: {request.verb} failed there with code {answer['returncode']}: {_complaint(answer)}")
        try:
            text = self.session.ask("take", name=name, limit_bytes=MAX_REPORT_BYTES)["text"]
        except BoardConnectionError:
            raise
        except RemoteError as error:
            # The code alone is no verdict: Python ends with 1 too where the environment is damaged.
            code = int(answer["returncode"])
            raise RemoteError(
                f"{where}: {request.verb} gave no report there (code {code}): {_complaint(answer)};"
                f" edgekit deploy compares the environment there with what was sent, and mends it"
            ) from error
        shown = clean(str(answer["stdout"])).rstrip()
        # Files have their SHA-256 for a name on the board; the user knows them by theirs.
        for there, here in ((self.model, request.file), (sent, request.reference)):
            if there is not None and here is not None:
                shown = shown.replace(there, here.name).replace(PurePosixPath(there).name, here.name)
                text = text.replace(json.dumps(there), json.dumps(here.name))
        found = _parsed(text, where)
        if listing is not None and isinstance(found.get("dataset"), dict):
            found["dataset"]["path"] = request.images  # there they are copies
        return Answered(code=int(answer["returncode"]), text=shown, report=found)

    def fingerprint(self, listing: Listing) -> dict[str, Any]:
        """Return the bits that the board answers to these images, and of every op for the first of them."""
        args = [
            "-m",
            "edge.commands.fingerprint",
            self.model,
            *self.request.flags,
            *self._there(),
            *self._images(listing, quiet=True),
        ]
        room.trim(self.session)
        answer = self.session.ask(
            "run",
            key=self.environment,
            args=[*args, "--ops"],
            run_timeout_s=_TIMEOUT_S,
            timeout_s=_TIMEOUT_S + 60,
            limit_bytes=MAX_REPORT_BYTES,
        )
        if answer["returncode"] != 0:
            raise RemoteError(f"{self.session.shell.name}: the fingerprint failed there: {_complaint(answer)}")
        return _parsed(str(answer["stdout"]), self.session.shell.name)

    def fingerprint_here(self, listing: Listing, flags: Sequence[str] = ()) -> dict[str, Any]:
        """Return the same of this machine."""
        place = listing.copy_to(self._folder("compared"))
        args = [str(self.request.file), *self.request.flags, *self._here(), "--images", str(place), "--ops", *flags]
        return _parsed(self._run_here("edge.commands.fingerprint", args), "this machine")

    def validate_here(self, flags: Sequence[str]) -> Answered:
        """Run the request's validation on this machine."""
        request = self.request
        assert request.images is not None
        written = self.scratch / "here.json"
        args = ["validate", str(request.file), *request.flags, *self._here(), "--images", request.images, *flags]
        for flag, value in (("--reference", request.reference), ("--limit", request.limit), ("--max-drop", request.max_drop)):
            args += [] if value is None else [flag, str(value)]
        said = self._run_here("edge", [*args, "--json", str(written)], good=(0, 1))
        report = _parsed(written.read_text("utf-8"), "this machine")
        return Answered(code=0 if report.get("verdict") in (None, "pass") else 1, text=said.rstrip(), report=report)

    def answers(self, listing: Listing | None) -> Path | None:
        """Return the stored answers of the reference to these images, which are computed here unless they are stored already."""
        stored = self.request.reference
        if stored is None or stored.suffix.lower() == ".npz":
            return stored
        check_artefact(stored)
        if listing is None:
            raise DeviceError(
                "with images on the board the reference must be stored outputs (.npz): edgekit outputs FILE --images DIR"
            )
        assert self.request.images is not None
        whole = self.request.part is None and self.listing is not None and listing.names == self.listing.names
        place = Path(self.request.images) if whole else listing.copy_to(self._folder("reference"))
        limit = ["--limit", str(self.request.limit)] if whole and self.request.limit is not None else []
        limit += ["--follow-links"] if whole and self.request.follow_links else []
        self.report(f"running the reference {stored.name} on this machine")
        answers = self._folder("answers") / "reference.npz"
        self._run_here("edge", ["outputs", str(stored), "--images", str(place), "--out", str(answers), *limit])
        return answers

    def send(self, path: Path, suffix: str) -> str:
        """Send a file, unless it is there already, and return its place there."""
        return send_file(self.session, path, digests.of_file(path)[0], suffix)

    def _there(self) -> list[str]:
        """Return the flags that name files, with their places on the board."""
        labels, delegate = self.request.labels, self.request.delegate
        found = [] if labels is None else ["--labels", self.send(labels, ".txt")]
        return [*found, *([] if delegate is None else ["--delegate", delegate])]

    def _here(self) -> list[str]:
        return [] if self.request.labels is None else ["--labels", str(self.request.labels)]

    def _images(self, listing: Listing | None, *, quiet: bool) -> list[str]:
        if listing is not None:
            return ["--images", images.send(self.session, listing, (lambda _: None) if quiet else self.report)]
        place, limit = self.request.images, self.request.limit
        if place is None:
            return []
        return ["--images", place.removeprefix(ON_THE_BOARD), *([] if limit is None else ["--limit", str(limit)])]

    def _folder(self, name: str) -> Path:
        number = sum(path.name.startswith(name) for path in self.scratch.iterdir())
        folder = self.scratch / f"{name}{number}"
        folder.mkdir()
        return folder

    def _hear(self, said: str) -> None:
        for line in said.splitlines():
            if line.strip():
                self.report(line.rstrip())

    def _run_here(self, module: str, args: Sequence[str], good: Sequence[int] = (0,)) -> str:
        try:
            done = subprocess.run(
                own_python.command(module, *args),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
                errors="replace",
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{module} {args[0]} did not come to its end here") from error
        if done.returncode not in good:
            raise DeviceError(f"{args[0]} cannot be run here: {one_line(done.stderr).rpartition('error: ')[2]}")
        return done.stdout


def listed(request: Request) -> Listing | None:
    """Return the images of this machine that a request is about; None where there are none, or they are on the board.

    Raises DeviceError as `images.listed` does.
    """
    if request.images is None or request.images_there:
        return None
    found = images.listed(Path(request.images), request.limit, follow_links=request.follow_links)
    if request.part is None:
        return found
    which, parts = request.part
    return found.only(found.names[which::parts])


def send_file(session: Session, path: Path, sha256: str, suffix: str) -> str:
    """Send a file that a run needs, unless it is there already, and return its place there.

    Raises BoardRefusedError where the board has no room for it, and as `Session.upload` does.
    """
    known = session.ask("have", sha256_hex=sha256, suffix=suffix)["path"]
    if known is not None:
        return str(known)
    room.make(session, path.stat().st_size)
    return session.upload(path, sha256, where="cache", suffix=suffix)


def _complaint(answer: dict[str, Any]) -> str:
    said = one_line(str(answer["stderr"])[-600:]).rpartition("edgekit: error: ")[2] or "it says nothing"
    code = int(answer["returncode"])
    return said if code >= 0 else f"ended by signal {-code} (4: an instruction is missing, 9: no memory, 11: a crash); {said}"


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        found = jsontext.loads(text, mend=True)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RemoteError(f"{where}: its report cannot be read: {one_line(text[:200])}")
    return found
