"""The systemd unit of ``deploy --service``: the current release tests itself at every start of the board, and keeps a log."""

from __future__ import annotations

import posixpath

from .errors import BoardRefusedError
from .shell import Shell

UNIT = "edgekit-selftest.service"
_PATH = f"/etc/systemd/system/{UNIT}"
_TIMEOUT_S = 60.0


def unit(root: str, user: str) -> str:
    """Return the unit file. It follows ``current``, so it needs no change with a new release.

    systemd takes no quotes and no ``$`` in the name of a program, whatever is escaped; so a shell is given it as an argument.
    """
    python, model = f"{root}/current/env/bin/python", f"{root}/current/model.tflite"
    log = f"{root}/log/selftest"
    return f"""\
# Made by edgekit deploy --service for {_comment(root)}; removed by edgekit undeploy.
[Unit]
Description=edgekit: self-test of the deployed model
After=local-fs.target
ConditionPathExists={_escape(model)}

[Service]
Type=oneshot
User={user}
ExecStartPre=-/bin/date --iso-8601=seconds
ExecStart=/bin/sh -c 'exec "$$0" "$$@"' {_word(python)} -I -m edge selftest {_word(model)} --json {_word(log + ".json")}
StandardOutput=append:{_escape(log + ".log")}
StandardError=append:{_escape(log + ".log")}
NoNewPrivileges=yes
ProtectSystem=full

[Install]
WantedBy=multi-user.target
"""


def install(shell: Shell, root: str) -> None:
    """Install and enable the unit. Raises BoardRefusedError where there is no systemd, or sudo asks for a password."""
    if not root.isprintable():
        raise BoardRefusedError(f"{shell.name}: {root!r} cannot stand in a systemd unit; deploy into another folder (--folder)")
    if shell.run(["test", "-d", "/run/systemd/system"], timeout_s=_TIMEOUT_S, check=False).returncode != 0:
        raise BoardRefusedError(f"{shell.name}: no systemd runs there, so no service; the model itself is deployed")
    user = shell.run(["id", "-un"], timeout_s=_TIMEOUT_S).stdout.strip()
    text = unit(root, user)
    _as_root(shell, ["true"], "set up the service")
    shell.run(["mkdir", "-p", posixpath.join(root, "log")], timeout_s=_TIMEOUT_S)
    # tee writes beside and mv replaces: a power cut leaves no half unit.
    _as_root(shell, ["tee", f"{_PATH}.new"], "write the unit", stdin=text.encode())
    _as_root(shell, ["mv", f"{_PATH}.new", _PATH], "write the unit")
    _as_root(shell, ["systemctl", "daemon-reload"], "make systemd read the unit")
    _as_root(shell, ["systemctl", "enable", UNIT], "enable the unit")


def remove(shell: Shell, root: str) -> None:
    """Remove the unit, if it is there and belongs to this folder."""
    found = shell.run(["cat", _PATH], timeout_s=_TIMEOUT_S, check=False)
    if found.returncode != 0 or f"for {_comment(root)};" not in found.stdout:
        return
    _as_root(shell, ["systemctl", "disable", UNIT], "disable the unit")
    _as_root(shell, ["rm", "-f", _PATH, f"{_PATH}.new"], "remove the unit")
    _as_root(shell, ["systemctl", "daemon-reload"], "make systemd forget the unit")


def _as_root(shell: Shell, args: list[str], purpose: str, stdin: bytes = b"") -> None:
    is_root = shell.run(["id", "-u"], timeout_s=_TIMEOUT_S).stdout.strip() == "0"
    command = args if is_root else ["sudo", "-n", *args]
    result = shell.run(command, timeout_s=_TIMEOUT_S, stdin=stdin, check=False)
    if result.returncode != 0:
        said = " ".join(result.stderr.split())[:200]
        raise BoardRefusedError(
            f"{shell.name}: cannot {purpose} ({said}); allow sudo without a password there, or leave --service out"
        )


def _escape(text: str) -> str:
    # In every setting % begins a specifier.
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """Return one word of an ExecStart line: quoted, with systemd's own escapes; ``$`` would be a variable."""
    return '"' + _escape(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$") + '"'


def _comment(text: str) -> str:
    return " ".join(text.split())
