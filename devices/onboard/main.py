"""One session on the board, from taking the lock to the end of the connection."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import zipfile
from collections.abc import Callable
from pathlib import Path

from .disk import remove, write
from .environments import Environments
from .kept import Keeper, Kept
from .link import Answer, Gone, Link, Refused, failure
from .pictures import Pictures
from .releases import MARK, Releases, is_ours
from .uploads import Uploads

PROTOCOL = 1
_NOT_ASKED = {"heal"}
_LOOKING = {"state", "hash", "verify"}  # what can be asked without the lock


def main(root: str, holder: str, lock: bool, silence_s: float) -> None:
    """Serve one session on stdin and stdout. ``lock``: the folder is made and locked; without, nothing can be changed.

    It ends with the connection, and where nothing is heard for ``silence_s``.
    """
    folder = Path(root).expanduser()
    if not folder.is_absolute():
        folder = Path.home() / folder
    link = Link(silence_s)
    releases = Releases(folder)
    kept = Kept(folder)
    parts = (
        releases,
        Uploads(folder, link, kept),
        Pictures(folder, link, kept),
        Keeper(folder, kept),
        Environments(folder, link),
    )
    held: int | None = None
    try:
        try:
            if lock:
                held = _take_lock(folder, holder)
                releases.heal()
            link.send({"protocol": PROTOCOL, "root": str(folder), "pid": os.getpid(), "python": platform.python_version()})
        except (Refused, OSError) as error:
            link.send(failure(error))
            return
        while True:
            link.send(_serve(parts, link.line(), looking=not lock))
    except Gone:
        return
    finally:
        if held is not None:
            os.close(held)


def _serve(parts: tuple[object, ...], line: bytes, *, looking: bool) -> Answer:
    try:
        request = json.loads(line)
        name = str(request.pop("op"))
        found = [getattr(part, name) for part in parts if not name.startswith("_") and hasattr(part, name)]
        if not found or name in _NOT_ASKED or (looking and name not in _LOOKING):
            raise Refused(f"{name!r} is no operation", "bug")
        operation: Callable[..., Answer] = found[0]
        return {"ok": True, **operation(**request)}
    except (
        Refused,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        StopIteration,
        zipfile.BadZipFile,
    ) as error:
        return failure(error)


def _take_lock(root: Path, holder: str) -> int:
    """Lock the folder, which is made if need be, and return the lock. It goes with this process, however that ends."""
    if root.exists() and not is_ours(root) and set(os.listdir(root)) - {"lock", f".{MARK}.new"}:
        raise Refused(f"{root} exists and was not made by edgekit; choose another folder (--folder)")
    while True:
        root.mkdir(parents=True, exist_ok=True)
        if (root / "lock").is_dir():
            with contextlib.suppress(NotADirectoryError):  # another session was faster, and has made the file
                remove(root / "lock")  # a folder cannot be locked, so nobody holds it
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = os.read(descriptor, 200).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise Refused(f"another deployment is under way ({who or 'unknown'})", "busy") from None
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == os.stat(root / "lock").st_ino:
                break
        os.close(descriptor)  # it was removed between opening and locking
    os.truncate(descriptor, 0)
    os.write(descriptor, holder.encode("utf-8", "replace")[:200])
    if not (root / MARK).exists():
        write(root / MARK, json.dumps({"edgekit_board": 1}))
    return descriptor
