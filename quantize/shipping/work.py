"""All steps in order: what is done already is taken as it is, and what a step finds decides which come next."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge.data.dataset import LabelledImages
from edge.errors import EdgeError
from edge.files import atomic_write_text
from edge.history.record import summary_of
from edge.progress import seconds

from . import lock, plan, runner, split, telling
from .advice import Advice, advise
from .journal import Journal
from .plan import Plan
from .prints import Prints
from .request import Request
from .steps import REFUSED, Step
from .telling import Verdict

Say = Callable[[str], None]
USAGE = 2
_SIGNALLED = 70  # exit code where a step was ended by a signal that nobody here sent


class StepError(EdgeError, RuntimeError):
    """A step came to no answer. Its own line stands above; ``exit_code`` is its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A step as it stands before anything is done. ``before``: what the journal has of it, None where it is to be done."""

    step: Step
    before: Mapping[str, Any] | None


@dataclass(slots=True, kw_only=True)
class Shipped:
    """What came of it."""

    request: Request
    plan: Plan
    verdict: Verdict
    advice: list[Advice]
    steps: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        request = self.request
        return {
            "shipped": self.verdict.file,
            "verdict": self.verdict.status,
            "sentence": self.verdict.sentence,
            "board": request.board,
            "profile": self.plan.profile,
            "max_drop": request.max_drop,
            "max_ms": request.max_ms,
            "steps": self.steps,
            "advice": [each.to_dict() for each in self.advice],
            "report": _page(self.plan),
        }

    def to_text(self) -> str:
        """Return it for people: the page, the advice, and the verdict as the last line."""
        lines = [f"the report: {_page(self.plan)}"]
        lines += [f"what may help: {each.to_text()}" for each in self.advice]
        known = [each.kind for each in self.advice if each.line]
        if known:
            lines.append(f"the same command with --allow {','.join(known)} does that too")
        return "\n".join([*lines, self.verdict.sentence])


def preview(request: Request) -> list[Planned]:
    """Return the steps as they are foreseen: what is still to come is taken to go well. Writes nothing."""
    prints = Prints()
    journal = Journal(Path(request.out), prints)
    answers: dict[str, Mapping[str, Any] | None] = {}
    found: list[Planned] = []
    changed: set[str] = set()
    all_new = False
    while (step := _next(plan.make(request, answers), answers)) is not None:
        entry = None if all_new or changed & set(step.files) else journal.holds(step, prints.key(step))
        # What a board was when it was asked last is the best guess at what it will say.
        known = step.always and journal.was_asked(step, prints.key(step))
        answers[step.name] = _read(step) if entry is not None or known else None
        if entry is None:
            changed.add(step.answer)
            all_new = all_new or step.makes
        found.append(Planned(step=step, before=entry))
    return found


def ship(request: Request, say: Say, *, text_to_stderr: bool = False) -> Shipped:
    """Do all of it, and return what came of it.

    Raises StepError where a step came to no answer, UsageError where another one works in the folder.
    """
    folder = Path(request.out)
    with lock.locked(folder, say) as descriptor:
        prints = Prints()
        journal = Journal(folder, prints)
        answers: dict[str, Mapping[str, Any] | None] = {}
        told: list[dict[str, Any]] = []
        while True:
            current = plan.make(request, answers)
            step = _next(current, answers)
            if step is None:
                break
            place = f"[{len(told) + 1}/{len(current.steps)}]"
            key = prints.key(step)
            entry = _still(step, journal.holds(step, key), answers)
            before = entry is not None
            if entry is None:
                entry = _do(current.request, step, key, journal, say, place, descriptor, text_to_stderr)
            answer = _read(step)
            answers[step.name] = answer
            summary = _summary(step, answer)
            said = ", ".join(part for part in (summary, seconds(float(entry["seconds"]))) if part)
            say(f"{place} {'as before: ' if before else 'done: '}{step.name} ({said})")
            told.append(
                {
                    "name": step.name,
                    "line": step.line,
                    "exit_code": entry["exit_code"],
                    "seconds": entry["seconds"],
                    "as_before": before,
                    "summary": summary,
                }
            )
            _check_board(step, answer, place)
        verdict = telling.judge(request, current, answers)
        train = count(request.train)
        helps = [] if verdict.exit_code == 0 else advise(current.request, current, answers, journal.seconds, train)
        if any(each.kind == "qat" for each in helps):
            split.write(current.request)  # so that the line can be typed as it stands
        return Shipped(request=request, plan=current, verdict=verdict, advice=helps, steps=told)


def _next(current: Plan, answers: Mapping[str, Any]) -> Step | None:
    return next((step for step in current.steps if step.name not in answers), None)


def _do(
    request: Request, step: Step, key: str, journal: Journal, say: Say, place: str, descriptor: int, text_to_stderr: bool
) -> dict[str, Any]:
    """Do one step. Raises StepError where it came to no answer."""
    resumed = step.state is not None and journal.was_begun(step, key) and Path(step.state).exists()
    typed = replace(step, words=(*step.words, "--resume")) if resumed else step
    say(f"{place} {typed.line}")
    if step.name == "qat":
        split.write(request)
    answer = Path(step.answer)
    answer.parent.mkdir(parents=True, exist_ok=True)
    answer.unlink(missing_ok=True)  # an answer of an earlier time would be taken for this one's
    journal.begin(step, key)
    start = time.monotonic()
    code = runner.run(typed.words, lock=descriptor, text_to_stderr=text_to_stderr)
    if code == USAGE and resumed:  # what was left behind cannot be gone on from
        say(f"{place} {step.line}")
        code = runner.run(step.words, lock=descriptor, text_to_stderr=text_to_stderr)
    took = time.monotonic() - start
    if code == USAGE and step.optional:
        # Everything that both load alike is fine, as quantize has shown: this network cannot have it, and that stays so.
        atomic_write_text(answer, json.dumps({REFUSED: code}) + "\n")
        code = 0
    if code not in step.fine or not answer.exists():
        raise _no_answer(step, code, place)
    journal.end(step, key, code, took, (step.answer, *_made(step, _read(step))))
    return {"exit_code": code, "seconds": round(took, 1)}


def _no_answer(step: Step, code: int, place: str) -> StepError:
    if code < 0:
        how, code = f"was ended by signal {-code} (9 is mostly a lack of memory)", _SIGNALLED
    else:
        how = f"ended with exit code {code}, and its last line above says why"
    said = f"step {place} {how}; mend it, and the same command goes on from there. The step alone: {step.line}"
    return StepError(said, code or _SIGNALLED)


def _check_board(step: Step, answer: Mapping[str, Any], place: str) -> None:
    """Raise StepError where the board needs mending first: hours of work would end at it."""
    if step.name == "doctor" and answer.get("healthy") is False:
        raise StepError(
            f"step {place} the board is not ready; the lines above say what mends it, and the same command goes on from there", 3
        )


def _still(step: Step, entry: Mapping[str, Any] | None, answers: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the entry, None for a deployment that the board has no more."""
    if entry is None or not step.name.startswith("deploy "):
        return entry
    there = answers.get("status") or {}
    is_there = there.get("current") == _read(step).get("release") and there.get("problem") is None
    return entry if is_there else None


def _read(step: Step) -> Mapping[str, Any]:
    found = json.loads(Path(step.answer).read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _made(step: Step, answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files that a step made beside its answer."""
    if step.name == "quantize":
        yield from (str(entry["file"]) for entry in answer.get("variants", ()))
    for key in {"tune": ("file",), "qat": ("trained",), "shrink": ("network", "int8"), "report": ("out",)}.get(step.name, ()):
        if answer.get(key):
            yield str(answer[key])


def _summary(step: Step, answer: Mapping[str, Any]) -> str:
    """Return what a step found in a few words."""
    if REFUSED in answer:
        return "refused"
    if step.name == "quantize":
        return f"{len(answer.get('variants', ()))} files"
    if step.name == "doctor":
        return str((answer.get("board") or {}).get("model") or answer.get("target"))
    if step.name == "status":
        return f"current: {answer.get('current') or 'nothing'}"
    return str(answer.get("status", "")) if step.name == "report" else summary_of(answer)


def _page(current: Plan) -> str:
    words = current.steps[-1].words
    return words[words.index("--out") + 1]


def count(photos: str) -> int:
    """Return how many photos a folder or manifest has. Raises DatasetError."""
    return len(LabelledImages.open(photos, unlabelled=True))


def to_stderr(text: str) -> None:
    """Say a line where standard output is for something else."""
    print(text, file=sys.stderr, flush=True)


def to_stdout(text: str) -> None:
    """Say a line to whoever waits."""
    print(text, flush=True)
