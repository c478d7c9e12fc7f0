"""A board over the system's OpenSSH: ``~/.ssh/config``, agents, ProxyJump and known_hosts work as they do for ``ssh`` itself.

One connection is opened and shared by all commands. It never asks a question: no password, no unknown host key.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import BoardConnectionError, DeviceError, RemoteError
from .shell import CommandResult, finish, one_line, quote, start

CONNECT_TIMEOUT_S = 15
_FAILED = 255  # what ssh itself ends with; what a command ends with is passed through

_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": str(CONNECT_TIMEOUT_S),
    # A link that was cut is noticed after 15 s, not after the two hours of TCP.
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "LogLevel": "ERROR",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTarget:
    """Where to connect to. ``options`` are further ssh options (``-o``), ``config`` is read instead of ``~/.ssh/config``."""

    text: str
    host: str
    user: str | None = None
    port: int | None = None
    config: Path | None = None
    options: tuple[tuple[str, str], ...] = ()

    @property
    def destination(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host


class SshShell:
    """Runs commands on a board over one shared connection."""

    python = "python3"

    def __init__(self, target: SshTarget) -> None:
        self.target = target
        self.name = target.text
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def connect(self) -> None:
        """Open the shared connection. Raises BoardConnectionError, which says what to do; DeviceError where there is no ssh."""
        if self._folder is not None:
            return
        if shutil.which("ssh") is None:
            raise DeviceError("there is no ssh command here; install OpenSSH (apt-get install openssh-client)")
        # A short path: the socket's name in it may have 104 characters at most (macOS).
        self._folder = tempfile.TemporaryDirectory(prefix="ek-", dir="/tmp")
        log = Path(self._folder.name) / "log"
        try:
            with log.open("wb") as stderr:
                # Persist: should this process die without closing, the connection goes by itself.
                extra = ["-M", "-N", "-f", "-o", "ControlPersist=15"]
                code = subprocess.call(
                    [*self._command(*extra), "--", self.target.destination],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    timeout=2 * CONNECT_TIMEOUT_S,
                )
            if code != 0:
                raise BoardConnectionError(self._explain(log.read_text("utf-8", "replace")))
        except subprocess.TimeoutExpired as error:
            self.close()
            raise BoardConnectionError(f"{self.name}: no answer within {2 * CONNECT_TIMEOUT_S} s; is the board on?") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the shared connection."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            command = [*self._command("-O", "exit"), "--", self.target.destination]
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
        self._folder.cleanup()
        self._folder = None

    def run(self, args: Sequence[str], *, timeout_s: float, check: bool = True, stdin: bytes = b"") -> CommandResult:
        """Run a command to its end; see `Shell.run`."""
        process = self._start(args, subprocess.PIPE)
        result = finish(process, args, where=self.name, timeout_s=timeout_s, stdin=stdin, check=False)
        if result.returncode == _FAILED and not self._alive():
            raise BoardConnectionError(f"{self.name}: the connection was lost ({one_line(result.stderr) or 'no reason given'})")
        if check and result.returncode != 0:
            said = one_line(result.stderr or result.stdout)
            shown = one_line(quote(args), 120)
            raise RemoteError(f"{self.name}: {shown} ended with code {result.returncode}{': ' + said if said else ''}")
        return result

    def open(self, args: Sequence[str], *, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command with pipes; see `Shell.open`."""
        return self._start(args, stderr)

    def _start(self, args: Sequence[str], stderr: IO[bytes] | int) -> subprocess.Popen[bytes]:
        line = quote(args)
        self.connect()
        command = [*self._command("-o", "ControlMaster=no"), "--", self.target.destination, line]
        return start(command, stderr)

    def _alive(self) -> bool:
        command = [*self._command("-O", "check"), "--", self.target.destination]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0

    def _command(self, *extra: str) -> list[str]:
        assert self._folder is not None
        command = ["ssh", "-T", "-S", f"{self._folder.name}/c"]
        if self.target.config is not None:
            command += ["-F", str(self.target.config)]
        if self.target.port is not None:
            command += ["-p", str(self.target.port)]
        for name, value in (*self.target.options, *_OPTIONS.items()):
            command += ["-o", f"{name}={value}"]
        return [*command, *extra]

    def _explain(self, said: str) -> str:
        """Return what went wrong with the connection, and what to do."""
        where, ssh = self.name, self._by_hand()
        if "IDENTIFICATION HAS CHANGED" in said:
            host, port = self._address()
            name = host if port == "22" else f"[{host}]:{port}"
            return (
                f"{where}: this is not the board that was known under this address: its host key has changed"
                f"{self._fingerprint()}. Only if you reinstalled it: ssh-keygen -R '{name}', then {ssh}"
            )
        if "Host key verification failed" in said or "host key is known" in said:
            return (
                f"{where}: unknown host key{self._fingerprint()}. Compare it with the board's own"
                f" (there: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then accept it once with: {ssh}"
            )
        reasons = {
            "Permission denied": f"it does not let us in with a key; set one up with: ssh-copy-id {ssh.removeprefix('ssh ')}",
            "Could not resolve hostname": "no such host name; check the spelling, or use the board's IP address",
            "Connection refused": "the machine is there, but no SSH server; enable it on the board (sudo raspi-config)",
            "timed out": "no answer; is the board on and in this network?",
            "No route to host": "no way to that address; is the board on and in this network?",
        }
        for text, reason in reasons.items():
            if text in said:
                return f"{where}: {reason} (ssh says: {one_line(said)})"
        return f"{where}: no connection: {one_line(said) or 'ssh gave no reason'}"

    def _by_hand(self) -> str:
        port = ["-p", str(self.target.port)] if self.target.port is not None else []
        config = ["-F", str(self.target.config)] if self.target.config is not None else []
        return quote(["ssh", *config, *port, self.target.destination])

    def _address(self) -> tuple[str, str]:
        """Return host name and port after ``~/.ssh/config``."""
        command = [*self._command("-G"), "--", self.target.destination]
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
        found = dict(line.partition(" ")[::2] for line in said.splitlines())
        return found.get("hostname", self.target.host), found.get("port", "22")

    def _fingerprint(self) -> str:
        """Return " (ED25519 SHA256:...)" as the machine at that address shows it, or nothing where it cannot be asked."""
        host, port = self._address()
        if host.startswith("-"):
            return ""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            keys = subprocess.run(
                ["ssh-keyscan", "-T", "5", "-p", port, "-t", "ed25519,ecdsa,rsa", host],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=20,
                check=False,
            ).stdout
            listed = subprocess.run(["ssh-keygen", "-lf", "-"], input=keys, capture_output=True, timeout=10, check=False).stdout
            prints = [line.split() for line in listed.decode("utf-8", "replace").splitlines()]
            named = {words[-1].strip("()"): words[1] for words in prints if len(words) >= 3}
            for kind in ("ED25519", "ECDSA", "RSA"):
                if kind in named:
                    return one_line(f" ({kind} {named[kind]})")
        return ""
