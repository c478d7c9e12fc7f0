"""The systemd unit of ``deploy --service``: the current release tests itself at every start of the board; the journal keeps what it says.

Each folder has a unit of its own. What root does there is outside of the folder, whose owner could lead it elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re

from ..errors import BoardRefusedError
from ..transport.session import DEFAULT_FOLDER
from ..transport.shell import Shell

UNIT = "edgekit-selftest.service"  # of the folder that is meant where none is named
_FOLDER = "/etc/systemd/system"
_MADE_BY_US = "# Made by edgekit deploy --service for "
_REMOVED_BY = "; removed by edgekit undeploy."
_TIMEOUT_S = 60.0
_SYNC_S = 600.0  # a card that is busy


def unit_name(root: str, home: str) -> str:
    """Return the name of a folder's unit. home: the home folder of the board's user."""
    return UNIT if root == posixpath.normpath(posixpath.join(home, DEFAULT_FOLDER)) else _own_name(root)


def unit(root: str, user: str) -> str:
    """Return the unit file. It follows ``current``, so it needs no change with a new release.

    systemd takes no quotes and no ``$`` in the name of a program, whatever is escaped; so a shell is given it as an argument.
    """
    python, model = f"{root}/current/env/bin/python", f"{root}/current/model.tflite"
    return f"""\
{_MADE_BY_US}{_comment(root)}{_REMOVED_BY}
[Unit]
Description=edgekit: self-test of the deployed model
After=local-fs.target
{_condition(root)}

[Service]
Type=oneshot
User={user}
ExecStart=/bin/sh -c 'exec "$$0" "$$@"' {_word(python)} -I -m edge selftest {_word(model)} --json {_word(root + "/log/selftest.json")}
StandardOutput=journal
StandardError=journal
NoNewPrivileges=yes
ProtectSystem=full

[Install]
WantedBy=multi-user.target
"""


def install(shell: Shell, root: str) -> str:
    """Install and enable the unit of a folder, and return its name.

    Raises BoardRefusedError where there is no systemd, sudo asks for a password, or the unit that is there is another's.
    """
    if not root.isprintable():
        raise BoardRefusedError(f"{shell.name}: {root!r} cannot stand in a systemd unit; deploy into another folder (--folder)")
    if shell.run(["test", "-d", "/run/systemd/system"], timeout_s=_TIMEOUT_S, check=False).returncode != 0:
        raise BoardRefusedError(f"{shell.name}: no systemd runs there, so no service; the model itself is deployed")
    if shell.run(["test", "-L", f"{root}/current"], timeout_s=_TIMEOUT_S, check=False).returncode != 0:
        raise BoardRefusedError(f"{shell.name}: nothing is deployed in {root}, so there is nothing that a service could test")
    name = unit_name(root, shell.run(["sh", "-c", 'printf %s "$HOME"'], timeout_s=_TIMEOUT_S).stdout)
    path = f"{_FOLDER}/{name}"
    there = _read(shell, path)
    if there is not None and not _is_of(there, root):
        line = there.partition("\n")[0]
        maker = line.removeprefix(_MADE_BY_US).removesuffix(_REMOVED_BY)
        whose = f"belongs to {maker}" if line.startswith(_MADE_BY_US) else "was not made by edgekit"
        raise BoardRefusedError(
            f"{shell.name}: {path} {whose}, so it stays as it is and there is no service for {root} (the model itself is deployed);"
            " remove it, or deploy into another folder (--folder), which has a unit of its own"
        )
    user = shell.run(["id", "-un"], timeout_s=_TIMEOUT_S).stdout.strip()
    root_shell = _Root(shell)
    root_shell.run(["true"], "set up the service")
    shell.run(["mkdir", "-p", posixpath.join(root, "log")], timeout_s=_TIMEOUT_S)
    # Written beside, on the disk, and only then renamed: a power cut leaves no half unit.
    root_shell.run(["tee", f"{path}.new"], "write the unit", stdin=unit(root, user).encode())
    root_shell.run(["chmod", "644", f"{path}.new"], "write the unit")
    root_shell.run(["sync", f"{path}.new"], "see the unit to the disk", timeout_s=_SYNC_S)
    root_shell.run(["mv", "-T", f"{path}.new", path], "write the unit")
    root_shell.run(["systemctl", "daemon-reload"], "make systemd read the unit")
    root_shell.run(["systemctl", "enable", name], "enable the unit")
    root_shell.run(["sync", "-f", _FOLDER], "see the unit to the disk", timeout_s=_SYNC_S)
    _remove(shell, root, but=name)
    return name


def remove(shell: Shell, root: str) -> None:
    """Remove the unit of this folder, if it is there."""
    _remove(shell, root)


def _remove(shell: Shell, root: str, but: str = "") -> None:
    for name in {UNIT, _own_name(root)} - {but}:  # every folder's unit had the first name once
        path = f"{_FOLDER}/{name}"
        if not _is_of(_read(shell, path) or "", root):
            continue
        root_shell = _Root(shell)
        root_shell.run(["systemctl", "disable", name], "disable the unit")
        root_shell.run(["rm", "-f", path, f"{path}.new"], "remove the unit")
        root_shell.run(["systemctl", "daemon-reload"], "make systemd forget the unit")
        root_shell.run(["sync", "-f", _FOLDER], "see that to the disk", timeout_s=_SYNC_S)


def _own_name(root: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9]+", "-", posixpath.basename(root)).strip("-")[:40]
    return f"edgekit-selftest-{readable or 'folder'}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}.service"


def _read(shell: Shell, path: str) -> str | None:
    """Return a unit file's text (empty where it cannot be read), or None where there is nothing under this name."""
    found = shell.run(["cat", path], timeout_s=_TIMEOUT_S, check=False)
    if found.returncode == 0:
        return found.stdout
    there = shell.run(["test", "-e", path, "-o", "-L", path], timeout_s=_TIMEOUT_S, check=False)
    return "" if there.returncode == 0 else None


def _is_of(text: str, root: str) -> bool:
    """Return whether we made a unit for this folder. The comment alone is not exact: it was written on one line."""
    return text.startswith(_MADE_BY_US) and _condition(root) in text.splitlines()


class _Root:
    """Runs commands as root on a board."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        is_root = shell.run(["id", "-u"], timeout_s=_TIMEOUT_S).stdout.strip() == "0"
        self._prefix = [] if is_root else ["sudo", "-n"]

    def run(self, args: list[str], purpose: str, *, stdin: bytes = b"", timeout_s: float = _TIMEOUT_S) -> None:
        result = self._shell.run([*self._prefix, *args], timeout_s=timeout_s, stdin=stdin, check=False)
        if result.returncode != 0:
            said = " ".join(result.stderr.split())[:200]
            raise BoardRefusedError(
                f"{self._shell.name}: cannot {purpose} ({said}); allow sudo without a password there, or leave --service out"
            )


def _condition(root: str) -> str:
    return f"ConditionPathExists={_escape(f'{root}/current/model.tflite')}"


def _escape(text: str) -> str:
    # In every setting % begins a specifier.
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """Return one word of an ExecStart line: quoted, with systemd's own escapes; ``$`` would be a variable."""
    return '"' + _escape(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$") + '"'


def _comment(text: str) -> str:
    return " ".join(text.split())
