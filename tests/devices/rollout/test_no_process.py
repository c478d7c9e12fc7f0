"""A board without a process to spare: that says nothing of what was deployed, and nothing of it is mended or blamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.errors import BoardShortError
from devices.rollout.selftests import prove
from devices.transport.local import LocalShell
from devices.transport.session import Session

USER = 54321  # nobody else's; root has no limit
PROCESSES = 3  # the session with its two threads


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of a user who may start no process but the session's own."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None or not Path("/usr/bin/python3").exists():
        pytest.skip("needs root, setpriv and the system's own Python")
    with tempfile.TemporaryDirectory(prefix="edgekit-short-") as text:
        folder = Path(text)
        python = folder / "python"
        python.write_text(
            f"#!/bin/sh\nexec setpriv --reuid={USER} --regid={USER} --clear-groups"
            f' prlimit --nproc={PROCESSES} /usr/bin/python3 "$@"\n'
        )
        python.chmod(0o755)
        environment = folder / "board/env/key/bin"
        environment.mkdir(parents=True)
        (environment / "python").symlink_to("/usr/bin/python3")
        (folder / "board/edgekit.json").write_text('{"edgekit_board": 1}')
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)
        yield folder


def test_a_board_without_a_process_to_spare_says_so(folder: Path) -> None:
    with (
        Session(LocalShell(str(folder / "python")), folder=str(folder / "board"), lock=True) as session,
        pytest.raises(BoardShortError, match=r"unavailable; it has no process or memory to spare: end something there") as caught,
    ):
        prove(session, "key", "model.tflite", lambda _: None, lambda: pytest.fail("nothing there differs"))
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
