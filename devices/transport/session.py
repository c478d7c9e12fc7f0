"""The workstation's side of a session with `devices.onboard`: one connection, one lock, one question at a time."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import io
import json
import os
import platform
import queue
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import jsontext
from ..errors import BoardBusyError, BoardConnectionError, BoardRefusedError, BoardShortError, RemoteError
from ..texts import clean
from .shell import Shell, end, one_line

DEFAULT_FOLDER = ".edgekit"  # in the home folder on the board

_ONBOARD = Path(__file__).parents[1] / "onboard"
# Each after what it imports.
_MODULES = ("link", "disk", "layers", "shelf", "kept", "uploads", "pictures", "environments", "releases", "main")
# Reads the modules of `devices.onboard` from stdin, exactly, and runs them from memory. The alarm ends one that gets no more of them.
_BOOT = """\
import json,os,signal,sys,types
signal.alarm(max(1,int(float(sys.argv[5]))))
n=int(sys.argv[1]);d=b''
while len(d)<n:
 c=os.read(0,n-len(d))
 if not c:sys.exit(3)
 d+=c
p=sys.modules['onboard']=types.ModuleType('onboard');p.__path__=[]
for k,s in json.loads(d):
 m=sys.modules['onboard.'+k]=types.ModuleType('onboard.'+k);m.__package__='onboard'
 exec(compile(s,'onboard/'+k+'.py','exec'),m.__dict__)
signal.alarm(0)
sys.modules['onboard.main'].main(sys.argv[2],sys.argv[3],sys.argv[4]=='lock',float(sys.argv[5]))
"""
SILENCE_S = 60.0
_BEATS = 6  # in that time
_PIECE_BYTES = 4 << 20
_MAX_LINE_BYTES = 40 << 20
_READ_BYTES = 1 << 16
_ANSWER_S = 120.0


def _user() -> str:
    """Return who holds a lock, for whoever finds it taken."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # as in containers: a number without a name
        return f"user {os.getuid()}"


class Session:
    """``with Session(shell) as session: session.ask("state")``. It connects, locks and clears what was interrupted.

    silence_s: a board that hears nothing for so long ends the session, and with it the lock and what runs for it. A board that says
    nothing for so long is given up here: while it works it sends a blank line six times in that time.
    """

    def __init__(self, shell: Shell, *, folder: str = DEFAULT_FOLDER, lock: bool = True, silence_s: float = SILENCE_S) -> None:
        self.shell = shell
        self.hello: dict[str, Any] = {}
        self._folder = folder
        self._lock = lock
        self._silence_s = silence_s
        self._sending = threading.Lock()
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._heard: float | None = None  # when the last byte came
        self._closed = threading.Event()

    def __enter__(self) -> Session:
        self.shell.connect()
        source = json.dumps([[name, (_ONBOARD / f"{name}.py").read_text("utf-8")] for name in _MODULES]).encode()
        holder = clean(f"{_user()}@{platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S%z')}")
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        args = [
            self.shell.python,
            "-I",
            "-u",
            "-c",
            _BOOT,
            str(len(source)),
            self._folder,
            holder,
            "lock" if self._lock else "look",
            f"{self._silence_s:g}",
        ]
        self._process = self.shell.open(args, stderr=self._stderr)
        assert self._process.stdin is not None
        self._input: io.RawIOBase = self._process.stdin.detach()  # type: ignore[attr-defined]  # a BufferedWriter
        os.set_blocking(self._input.fileno(), False)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self._send(source, "the start", _ANSWER_S)
            self.hello = self._answer("the start", _ANSWER_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the session. The other side sees the end of the connection, and lets the lock go."""
        self._closed.set()
        with self._sending, contextlib.suppress(OSError):
            self._input.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            end(self._process)
            self._process.wait()
        self._listener.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._stderr.close()

    def ask(
        self,
        op: str,
        *,
        timeout_s: float = _ANSWER_S,
        payload: bytes = b"",
        hear: Callable[[str], None] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Ask for an operation of `devices.onboard` and return its answer. hear: gets, cleaned, what a command says meanwhile.

        timeout_s: for the answer, and (two minutes at most) for the next byte of the question that the board takes. It says more often
        that it is still there.
        Raises BoardBusyError, BoardRefusedError, RemoteError, BoardConnectionError.
        """
        self._send(json.dumps({"op": op, **fields}).encode() + b"\n" + payload, op, timeout_s)
        return self._answer(op, timeout_s, hear)

    def upload(
        self,
        path: Path,
        sha256: str,
        *,
        where: str = "uploads",
        suffix: str = "",
        report: Callable[[int, int], None] | None = None,
    ) -> str:
        """Send a file and return its path there. What arrived earlier is continued, if it is the beginning of this file.

        suffix: the file gets this ending (in ``cache``). report: called with bytes done and bytes in all.
        Raises as `ask` does; RemoteError if it arrives damaged twice.
        """
        total = path.stat().st_size
        if suffix and (known := self.ask("have", sha256_hex=sha256, suffix=suffix)["path"]) is not None:
            return str(known)
        for attempt in (1, 2):
            there = self.ask("part", sha256_hex=sha256, where=where)
            done = int(there["bytes"])
            if done > total or there["sha256"] != _sha256_prefix(path, done):
                done = 0
            with path.open("rb") as stream:
                stream.seek(done)
                while done < total or (total == 0 and attempt == 1):
                    piece = stream.read(_PIECE_BYTES)
                    self.ask("append", sha256_hex=sha256, where=where, offset=done, count=len(piece), payload=piece)
                    done += len(piece)
                    if report is not None:
                        report(done, total)
                    if not piece:
                        break
            try:
                return str(self.ask("seal", sha256_hex=sha256, where=where, suffix=suffix)["path"])
            except DamagedError:
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def _send(self, data: bytes, op: str, timeout_s: float) -> None:
        patience_s = min(timeout_s, _ANSWER_S)
        if not self._taken(data, patience_s):
            raise BoardConnectionError(
                f"{self.shell.name}: it takes nothing any more (during {op}, for {patience_s:g} s); run the same command again"
            )

    def _taken(self, data: bytes, timeout_s: float) -> bool:
        """Send, and return False where not one more byte was taken for ``timeout_s``."""
        left = memoryview(data)
        room = select.poll()
        # After an error what the other side said last explains it, if it said anything; else the answer tells of the lost connection.
        with self._sending, contextlib.suppress(OSError, ValueError):
            room.register(self._input.fileno(), select.POLLOUT)
            while left:
                if not room.poll(timeout_s * 1000):
                    return False
                left = left[self._input.write(left) or 0 :]
        return True

    def _answer(self, op: str, timeout_s: float, hear: Callable[[str], None] | None = None) -> dict[str, Any]:
        name = self.shell.name
        asked = time.monotonic()
        while (line := self._next_line(op, asked, timeout_s)).startswith(b'{"say": '):
            with contextlib.suppress(ValueError, KeyError):
                said = clean(str(jsontext.loads(line, mend=True)["say"]))
                if hear is not None:
                    hear(said)
        if not line:
            said = self._complaint()
            raise BoardConnectionError(
                f"{name}: the connection ended during {op}{': ' + said if said else ''}; run the same command again"
            )
        try:
            answer = jsontext.loads(line, mend=True)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise RemoteError(f"{name}: an answer to {op} that cannot be read: {one_line(line[:200].decode('utf-8', 'replace'))}")
        if answer.get("ok", True):
            return answer
        message = f"{name}: {one_line(str(answer.get('message')))}"
        match answer.get("kind"):
            case "busy":
                raise BoardBusyError(f"{message}; wait for it, then run the same command again")
            case "full":
                raise BoardRefusedError(
                    f"{message}; free some space on the board (df -h, sudo apt-get clean) and run the same command again"
                )
            case "short":
                raise BoardShortError(
                    f"{message}; it has no process or memory to spare: end something there (ps aux, free -m), then run the same command"
                    " again"
                )
            case "damaged":
                raise DamagedError(message)
            case "refused":
                raise BoardRefusedError(message)
        raise RemoteError(message)

    def _next_line(self, op: str, asked: float, timeout_s: float) -> bytes:
        """Return what the board says next, b"" at the end of the connection. Raises BoardConnectionError, also for a board that is
        silent: one that is stopped in the middle of a long run would be waited for until that run's own deadline, a day.
        """
        deadline = asked + timeout_s
        while True:
            # Until the first byte its Python may still be starting.
            silent = deadline if self._heard is None else max(self._heard, asked) + self._silence_s
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=max(0.0, min(deadline, silent) - time.monotonic()))
            now, heard = time.monotonic(), self._heard
            if now >= deadline:
                raise BoardConnectionError(f"{self.shell.name}: no answer to {op} within {timeout_s:g} s")
            if heard is not None and now >= max(heard, asked) + self._silence_s:
                raise BoardConnectionError(
                    f"{self.shell.name}: not a sign of life for {self._silence_s:g} s (during {op}): its process there is stopped, or"
                    " the board hangs; see to that, then run the same command again"
                )

    def _listen(self) -> None:
        """Take in what the board says, line by line. Blank ones are signs of life, and so is every piece of a long one."""
        assert self._process.stdout is not None
        line = bytearray()
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(self._process.stdout.fileno(), _READ_BYTES):
                self._heard = time.monotonic()
                for number, part in enumerate(data.split(b"\n")):
                    if (number or len(line) > _MAX_LINE_BYTES) and line:
                        self._answers.put(bytes(line))
                        line = bytearray()
                    line += part
        if line:
            self._answers.put(bytes(line))
        self._answers.put(b"")

    def _beat(self) -> None:
        while not self._closed.wait(self._silence_s / _BEATS):
            # Never waits: where something else is being sent, or there is no room, the board hears that.
            if self._sending.acquire(blocking=False):
                with contextlib.suppress(OSError, ValueError):
                    self._input.write(b"\n")
                self._sending.release()

    def _complaint(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 400))
        return one_line(self._stderr.read().decode("utf-8", "replace"))


class DamagedError(RemoteError):
    """A file is not what it was when it was sent."""


def _sha256_prefix(path: Path, count: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while count and (data := stream.read(min(count, 1 << 20))):
            digest.update(data)
            count -= len(data)
    return digest.hexdigest()
