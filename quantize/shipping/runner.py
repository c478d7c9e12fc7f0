"""Runs a step in a process of its own, whose progress goes to the terminal as it is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from edge.errors import UsageError
from edge.interrupt import Terminated
from edge.system import child

_APART = "quantize.shipping.apart"
_PATIENCE_S = 10.0
_STDERR = 2


def run(words: Sequence[str], *, lock: int, text_to_stderr: bool = False) -> int:
    """Run ``edgekit WORDS`` and return its exit code, negative for a signal.

    lock: a descriptor that the process holds too. text_to_stderr: standard output is for something else. An interruption ends the process
    before it is passed on; if this process is killed, the other one ends by itself.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    try:
        with _started(words, (reading, lock), text_to_stderr) as process:
            os.close(reading)
            reading = -1
            try:
                return process.wait()
            except KeyboardInterrupt as interrupt:
                _end(process, interrupt)
                raise
    finally:
        for descriptor in {reading, writing} - {-1}:
            os.close(descriptor)


def _started(words: Sequence[str], kept: tuple[int, int], text_to_stderr: bool) -> subprocess.Popen[bytes]:
    line = child.command(_APART, str(kept[0]), *words)
    try:
        return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=_STDERR if text_to_stderr else None, pass_fds=kept)
    except OSError as error:
        raise UsageError(f"cannot start {line[0]!r} for the next step ({error})") from error


def _end(process: subprocess.Popen[bytes], interrupt: KeyboardInterrupt) -> None:
    """End the process as this one is ended, once: what it puts in order afterwards is not to be interrupted."""
    if isinstance(interrupt, Terminated):
        process.terminate()
    elif not _hears_the_terminal():
        process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_S)
        return
    # Native code hears of nothing; what is half done there lies beside its file and is never renamed.
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_S)
        return
    process.kill()
    process.wait()


def _hears_the_terminal() -> bool:
    """Whether Ctrl-C at the terminal reaches the other process as it reaches this one."""
    with contextlib.suppress(OSError):
        descriptor = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.tcgetpgrp(descriptor) == os.getpgrp()
        finally:
            os.close(descriptor)
    return False
