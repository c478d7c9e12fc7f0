from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from devices.errors import DeviceError, RemoteError
from devices.texts import clean
from devices.transport.shell import Shell, one_line, quote

NASTY = [
    "plain",
    "two words",
    "'single'",
    '"double"',
    "a;touch /tmp/edgekit-pwned",
    "$(touch /tmp/edgekit-pwned)",
    "`touch /tmp/edgekit-pwned`",
    "$HOME ${HOME} $$",
    "new\nline",
    "-leading",
    "--option=value",
    "*?[a-z]~",
    "back\\slash\\",
    "tab\there",
    "größe 模型 🌹",
    "!history",
    "a&b|c>d<e(f)#g",
    "",
]


def test_arguments_arrive_as_they_are(shell: Shell) -> None:
    code = "import sys, json; print(json.dumps(sys.argv[1:]))"
    result = shell.run([shell.python, "-c", code, *NASTY], timeout_s=60)
    assert json.loads(result.stdout) == NASTY
    assert shell.run(["test", "-e", "/tmp/edgekit-pwned"], timeout_s=60, check=False).returncode == 1


def test_stdin_and_both_outputs(shell: Shell) -> None:
    result = shell.run(["sh", "-c", "cat; echo said >&2"], timeout_s=60, stdin=b"one\ntwo")
    assert (result.stdout, result.stderr, result.returncode) == ("one\ntwo", "said\n", 0)


def test_a_failing_command_raises_with_everything_that_is_known(shell: Shell) -> None:
    with pytest.raises(RemoteError) as caught:
        shell.run(["sh", "-c", "echo the reason >&2; exit 7"], timeout_s=60)
    assert shell.name in str(caught.value)
    assert "code 7" in str(caught.value) and "the reason" in str(caught.value)
    assert caught.value.exit_code == 3
    assert shell.run(["sh", "-c", "exit 7"], timeout_s=60, check=False).returncode == 7


def test_a_command_that_is_not_there(shell: Shell) -> None:
    assert shell.run(["edgekit-no-such-command"], timeout_s=60, check=False).returncode == 127
    with pytest.raises(RemoteError):
        shell.run(["edgekit-no-such-command"], timeout_s=60)


def test_the_deadline_holds(shell: Shell) -> None:
    with pytest.raises(RemoteError, match="did not end within 0.5 s"):
        shell.run(["sleep", "30"], timeout_s=0.5)


def test_a_board_that_never_stops_talking_is_stopped(shell: Shell) -> None:
    with pytest.raises(RemoteError, match="said more than 16 MiB"):
        shell.run(["sh", "-c", "yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | cat"], timeout_s=120)


def test_large_input_that_is_not_read_does_no_harm(shell: Shell) -> None:
    assert shell.run(["true"], timeout_s=60, stdin=b"x" * (1 << 20)).returncode == 0


def test_terminal_escapes_are_stripped(shell: Shell) -> None:
    result = shell.run(["printf", r"a\033[31mred\033]0;title\007b\033Pq\033\\c\rd\177e"], timeout_s=60)
    assert result.stdout == "aredbcde"


def test_clean_keeps_text_and_lines() -> None:
    assert clean("größe\n\tcolumn\r\nend 🌹") == "größe\n\tcolumn\nend 🌹"
    assert clean("left\u202eright\x9b31m") == "leftright"


def test_one_line_is_one_short_line() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert len(one_line("x" * 1000)) == 400


def test_what_cannot_be_an_argument_is_refused(shell: Shell) -> None:
    with pytest.raises(DeviceError, match="NUL"):
        quote(["echo", "a\0b"])
    for args in ([], [""], ["echo", "a\0b"]):
        with pytest.raises(DeviceError):
            shell.run(args, timeout_s=60)


def test_an_open_command_talks_both_ways_and_ends_with_its_input(shell: Shell, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("wb") as stderr:
        process = shell.open(
            [shell.python, "-u", "-c", "import sys\nfor line in sys.stdin: print(line.upper(), end='')"], stderr=stderr
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"HELLO\n"
        process.stdin.close()
        assert process.wait(30) == 0
        process.stdout.close()


def test_a_signal_is_told_apart(shell: Shell) -> None:
    code = f"import os; os.kill(os.getpid(), {int(signal.SIGTERM)})"
    result = shell.run([shell.python, "-c", code], timeout_s=60, check=False)
    assert result.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM, 255)
