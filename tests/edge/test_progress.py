from __future__ import annotations

import io

import pytest

from edge.progress import Progress, seconds, stage


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_whole_lines() -> None:
    log = io.StringIO()
    with Progress(1000, "validate", log) as progress:
        for _ in range(1000):
            progress.advance()
    lines = log.getvalue().splitlines()
    assert lines[0] == "validate: 1000 to do"
    assert lines[-1].startswith("validate: 1000/1000 done in ")
    assert len(lines) < 5 and "\r" not in log.getvalue()


def test_a_terminal_gets_a_bar() -> None:
    terminal = Terminal()
    with Progress(10, "validate", terminal) as progress:
        progress.skip(4)
        progress.advance()
    assert "[" in terminal.getvalue() and "5/10" in terminal.getvalue()
    assert terminal.getvalue().count("\n") == 1


def test_an_error_is_not_reported_as_done() -> None:
    log = io.StringIO()
    with pytest.raises(ValueError, match="no"), Progress(10, "x", log):
        raise ValueError("no")
    assert "0/10 stopped" in log.getvalue()
    with pytest.raises(ValueError, match="no"), stage("y", log):
        raise ValueError("no")
    assert log.getvalue().splitlines()[-1].startswith("y: stopped after")


def test_a_reader_that_went_away_does_not_stop_the_work() -> None:
    gone = io.StringIO()
    gone.isatty()
    progress = Progress(3, "x", gone)
    gone.close()
    with progress:
        progress.advance(3)
    assert progress.done == 3


@pytest.mark.parametrize(("value", "text"), [(0.84, "0.8 s"), (12.4, "12 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text
