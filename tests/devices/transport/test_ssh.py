from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices.errors import BoardConnectionError, RemoteError
from devices.transport.ssh import SshShell, SshTarget


def refusal(target: SshTarget) -> str:
    shell = SshShell(target)
    with pytest.raises(BoardConnectionError) as caught:
        shell.connect()
    shell.close()
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fingerprint(key: Path) -> str:
    listed = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, text=True, check=True).stdout
    return listed.split()[1]


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_the_command(sshd: Any, tmp_path: Path) -> None:
    target = dataclasses.replace(sshd.target(), options=(("UserKnownHostsFile", str(tmp_path / "empty")),))
    said = refusal(target)
    assert "unknown host key" in said
    assert fingerprint(sshd.host_key) in said
    assert f"ssh -F {sshd.config} -p {sshd.port} {sshd.user}@127.0.0.1" in said
    assert not (tmp_path / "empty").exists()


def test_another_host_key_than_the_known_one_is_refused(sshd: Any, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{sshd.port} {(tmp_path / 'other.pub').read_text()}")
    said = refusal(dataclasses.replace(sshd.target(), options=(("UserKnownHostsFile", str(known)),)))
    assert "its host key has changed" in said
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in said


def test_a_key_that_is_not_accepted(sshd: Any, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "stranger")], check=True)
    config = tmp_path / "config"
    config.write_text(sshd.config.read_text().replace(str(sshd.key), str(tmp_path / "stranger")))
    said = refusal(dataclasses.replace(sshd.target(), config=config))
    assert "does not let us in" in said and "ssh-copy-id" in said


def test_nobody_listens(sshd: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused for certain
        assert "no SSH server" in refusal(sshd.target(taken.getsockname()[1]))


def test_a_host_that_does_not_exist(sshd: Any) -> None:
    said = refusal(dataclasses.replace(sshd.target(), host="no-such-board.invalid"))
    assert "no such host name" in said


def test_one_connection_serves_all_commands_and_is_gone_at_the_end(sshd: Any) -> None:
    shell = SshShell(sshd.target())
    parents = {shell.run(["sh", "-c", "echo $SSH_CONNECTION"], timeout_s=60).stdout for _ in range(3)}
    assert len(parents) == 1
    assert shell._folder is not None
    folder = Path(shell._folder.name)
    assert (folder / "c").is_socket()
    shell.close()
    assert not folder.exists()


@pytest.mark.targets("ssh", "virtual", why="there is no link to this machine")
def test_a_link_that_is_cut_while_a_command_runs(cable: Callable[[int], SshTarget]) -> None:
    shell = SshShell(cable(20_000))
    try:
        with pytest.raises(RemoteError):
            shell.run(["cat"], timeout_s=60, stdin=os.urandom(200_000))
    finally:
        shell.close()


@pytest.mark.targets("ssh", "virtual", why="there is no link to this machine")
def test_a_link_that_is_cut_while_connecting(cable: Callable[[int], SshTarget]) -> None:
    assert "no connection" in refusal(cable(1_000))


def test_no_password_and_no_question_is_possible(sshd: Any) -> None:
    command = SshShell(sshd.target())
    command.connect()
    try:
        line = " ".join(command._command())
    finally:
        command.close()
    assert "BatchMode=yes" in line and "StrictHostKeyChecking=yes" in line
