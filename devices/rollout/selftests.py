"""A self-test on a board: the golden samples that travel with a model are replayed there. A verdict is one thing, no verdict another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import jsontext
from ..errors import BoardConnectionError, BoardRefusedError, BoardShortError, DeviceError, RemoteError
from ..texts import clean
from ..transport.session import Session
from ..transport.shell import one_line
from .environments import Report

MAX_REPORT_BYTES = 16 << 20
_SELFTEST_S = 1800.0
_OWN_ERROR = "edgekit: error: "


class SelftestFailedError(DeviceError):
    """The board does not give the answers that travel with the artefact. A verdict: exit code 1."""

    exit_code = 1


class SelftestNotRunError(BoardRefusedError):
    """The self-test gave no verdict. ``why`` is what is known; the message has the next step too."""

    def __init__(self, why: str, step: str) -> None:
        super().__init__(f"{why}; {step}")
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A self-test that passed, and whether the environment had to be mended for it."""

    report: dict[str, Any]
    mended: bool


def selftest(session: Session, environment: str, path: str, report: Report) -> dict[str, Any]:
    """Replay the golden samples of a model on the board and return the report.

    Raises SelftestFailedError if its answers differ; SelftestNotRunError where nothing says whether they do; BoardShortError.
    """
    report("replaying the golden samples on the board")
    name = session.shell.name
    try:
        answer = run_edge(session, environment, ["selftest", path, "--json", "-"], timeout_s=_SELFTEST_S)
    except (BoardConnectionError, BoardShortError):
        raise
    except RemoteError as error:  # no program could be started, or it did not come to an end
        said = str(error).removeprefix(f"{name}: ")
        raise _no_verdict(name, said) from error
    code = int(answer["returncode"])
    try:
        found = jsontext.loads(answer["stdout"], mend=True) if answer["stdout"] else None
    except ValueError:
        found = None
    passed = found.get("passed") if isinstance(found, dict) else None
    # The code alone is no verdict: Python ends with 1 too where the environment is damaged.
    if isinstance(found, dict) and passed is True and code == 0:
        return found
    if passed is False and code == 1:
        raise SelftestFailedError(
            f"{name}: the board does not give the answers that travel with the model; nothing was changed there"
        )
    said = one_line(str(answer["stderr"]))
    if code < 0:
        why = f"ended by signal {-code} (4: the processor lacks an instruction, 9: no memory, 11: a crash in the interpreter)"
        said = f"{why}{': ' + said if said else ''}"
    else:
        said = f"code {code}: {said.removeprefix(_OWN_ERROR) or 'it says nothing'}"
    raise _no_verdict(name, said)


def prove(session: Session, environment: str, path: str, report: Report, renew: Callable[[], bool]) -> Proof:
    """Replay the golden samples as `selftest`; where they do not pass, mend the environment first, and replay them once more.

    renew: makes anew what differs in the environment, and returns whether anything did.
    """
    try:
        return Proof(report=selftest(session, environment, path, report), mended=False)
    except SelftestFailedError:
        if not renew():
            raise
    except SelftestNotRunError as error:
        # What Python has made of the sources is in no list of files. It spoils no answers, but it can stop the program.
        if not renew() and not session.ask("forget_bytecode", key=environment)["removed"]:
            raise _whole(error) from error
    try:
        return Proof(report=selftest(session, environment, path, report), mended=True)
    except SelftestNotRunError as error:
        raise _whole(error) from error


def _whole(error: SelftestNotRunError) -> SelftestNotRunError:
    return SelftestNotRunError(
        error.why, "the files of its environment are as they were sent, so look at the model: edgekit check FILE"
    )


def run_edge(
    session: Session, environment: str, args: list[str], *, timeout_s: float, hear: Report | None = None
) -> dict[str, Any]:
    """Run ``python -m edge ARGS`` in an environment on the board; return ``returncode``, ``stdout`` and ``stderr``."""
    fields: dict[str, Any] = {"key": environment, "args": ["-m", "edge", *args], "limit_bytes": MAX_REPORT_BYTES}
    answer = session.ask("run", run_timeout_s=timeout_s, timeout_s=timeout_s + 60, hear=hear, **fields)
    return {"returncode": int(answer["returncode"]), "stdout": str(answer["stdout"]), "stderr": clean(str(answer["stderr"]))}


def _no_verdict(name: str, said: str) -> SelftestNotRunError:
    why = f"{name}: the self-test could not run there ({said}); nothing was changed there"
    return SelftestNotRunError(why, f"compare the files there with what was sent: edgekit status --verify {name}")
