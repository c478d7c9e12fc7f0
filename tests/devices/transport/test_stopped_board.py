"""A board that is stopped in the middle of a long run: it says nothing, and nobody else does for it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from devices.errors import BoardConnectionError, RemoteError
from devices.transport.session import Session

SILENCE_S = 2.0
A_DAY_S = 24 * 3600.0  # a run's own deadline
WHY = "it is the workstation that waits, for a process that cannot know of it; an emulated Python starts slower than this silence"
SLEEPER = "import os, time\nos.write(2, str(os.getpid()).encode())\ntime.sleep(600)"


@pytest.fixture
def session(board: Any) -> Iterator[Session]:
    with Session(board.shell, folder=board.there, silence_s=SILENCE_S) as found:
        yield found
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(found.hello["pid"]), signal.SIGCONT)


def run(session: Session, board: Any, program: str, *, stop: str = "") -> dict[str, Any]:
    """Run a program there that says its process id, and stop it, or the session's process, once it has."""

    def hear(text: str) -> None:
        os.kill(int(session.hello["pid"] if stop == "session" else text), signal.SIGSTOP)

    key = next((board.here / "env").iterdir()).name
    fields: dict[str, Any] = {"key": key, "args": ["-u", "-c", program], "limit_bytes": 1 << 20, "run_timeout_s": A_DAY_S}
    return session.ask("run", timeout_s=A_DAY_S, hear=hear if stop else None, **fields)


@pytest.mark.targets("local", "ssh", why=WHY)
def test_a_board_that_is_stopped_in_the_middle_of_a_long_run_is_noticed(session: Session, board: Any) -> None:
    with pytest.raises(BoardConnectionError, match=r"not a sign of life for 2 s \(during run\): its process there is stopped"):
        run(session, board, SLEEPER, stop="session")


@pytest.mark.targets("local", "ssh", why=WHY)
def test_a_run_that_is_stopped_on_a_board_that_is_not_is_ended(session: Session, board: Any) -> None:
    with pytest.raises(RemoteError, match=r"it was stopped \(SIGSTOP\) and not continued for 2 s"):
        run(session, board, SLEEPER, stop="run")
    assert session.ask("state")["ok"]


@pytest.mark.targets("local", "ssh", why=WHY)
def test_a_run_that_says_nothing_for_longer_than_the_silence_is_waited_for(session: Session, board: Any) -> None:
    answer = run(session, board, f"import time\ntime.sleep({2.5 * SILENCE_S})\nprint('done')")
    assert (answer["returncode"], answer["stdout"]) == (0, "done\n")


@pytest.mark.targets("local", "ssh", why=WHY)
def test_signs_of_life_do_not_come_into_the_middle_of_an_answer(session: Session, board: Any) -> None:
    program = "import sys, time\nfor n in range(40):\n sys.stdout.write(chr(97 + n % 26) * 20000)\n time.sleep(0.05)"
    assert len(run(session, board, program)["stdout"]) == 40 * 20000
