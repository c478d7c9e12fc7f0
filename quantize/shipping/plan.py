"""Which steps there are, given what those that are done have found: a pure function, asked again after each step."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge.numbers.statistics import PASS

from . import steps
from .candidates import Answers, Candidate, choose, quantized, rescued
from .request import Request
from .steps import REFUSED, Step

VIRTUAL_MARK = "edgekit,virtual-board"  # as `edgekit doctor` finds it in the device tree of an emulated board

_MACHINE = ("model", "arch", "os_name", "python", "glibc")  # what an answer and its time depend on, as `edgekit doctor` calls it


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All steps in order. ``request``: with the name that the files have. ``chosen`` is what is deployed, None where nothing may be;
    ``best`` what is most nearly so.
    """

    request: Request
    steps: tuple[Step, ...]
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    best: Candidate | None
    profile: str | None
    emulated: bool

    def certified(self, answers: Answers) -> bool:
        """Whether the board answers as it should, or nobody has asked yet."""
        return _certified(self.chosen, answers)


def make(request: Request, answers: Answers) -> Plan:
    """Return the plan. What a step that is still to come will find is taken to be good."""
    made = answers.get("quantize")
    if made is not None:  # it has the last word on how files are called
        request = replace(request, name=str(made.get("name", request.name)))
    board: Mapping[str, Any] = (answers.get("doctor") or {}).get("board", {})
    profile = request.profile or board.get("profile")
    marks = board.get("answers", {}).get("compatible", ())
    emulated = request.emulated or any(VIRTUAL_MARK in mark for mark in marks)
    measure = request.board is not None and not emulated
    machine = " ".join(str(board.get(name)) for name in _MACHINE) if board else ""

    todo = [] if request.board is None else [steps.doctor(request)]
    todo.append(steps.quantize(request))
    candidates = list(quantized(request))
    for each in candidates:
        todo += _proven(request, each, profile)
    for kind in ("tune", "qat"):
        if kind in request.allow and not any(each.passes(answers) for each in candidates):
            todo.append(steps.tune(request, profile) if kind == "tune" else steps.qat(request))
            todo += _added(kind, request, answers, candidates, profile)

    # An emulated board that is none of those that are known has no speed at all.
    blind = request.max_ms is not None and not measure and profile is None and answers.get("doctor") is not None

    def chosen() -> tuple[Candidate | None, Candidate | None]:
        take, best = choose(candidates, request, answers, measure=measure)
        return None if blind else take, best

    take, best = chosen()
    on_board: list[Step] = []
    if measure and best is not None:
        on_board = [steps.benchmark(request, best.name, best.file, machine)]
        todo += on_board
    if best is not None and take is None and not blind and "shrink" in request.allow:
        todo.append(steps.shrink(request, profile, best.measured_ms(answers)))
        todo += _added("shrink", request, answers, candidates, profile)
        take, _ = chosen()
        if measure and take is not None:
            todo.append(steps.benchmark(request, take.name, take.file, machine))
            take, _ = chosen()
    if request.board is not None and take is not None:
        todo.append(steps.certify(request, take.name, take.file, machine))
        if _certified(take, answers):
            todo += [steps.status(request), steps.deploy(request, take.name, take.file)]
    todo.append(_report(request, answers, todo, take, slow=take is None and best is not None))
    return Plan(
        request=request,
        steps=tuple(todo),
        candidates=tuple(candidates),
        chosen=take,
        best=best,
        profile=profile,
        emulated=emulated,
    )


def _proven(request: Request, candidate: Candidate, profile: str | None) -> list[Step]:
    predicted = [] if profile is None else [steps.check(request, candidate.name, candidate.file, profile)]
    return [*predicted, steps.validate(request, candidate.name, candidate.file)]


def _added(kind: str, request: Request, answers: Answers, candidates: list[Candidate], profile: str | None) -> list[Step]:
    """Add what a rescue made to the candidates, and return what proves it."""
    made = rescued(kind, answers.get(kind), request)
    if made is None:
        return []
    candidates.append(made)
    return _proven(request, made, profile)


def _certified(chosen: Candidate | None, answers: Answers) -> bool:
    found = None if chosen is None else answers.get(f"certify {chosen.name}")
    return found is None or found.get("verdict") == PASS


def _report(request: Request, answers: Answers, done: list[Step], chosen: Candidate | None, *, slow: bool) -> Step:
    """The page is about the file that is taken; where none is, about all that was tried."""
    told = [
        step for step in done if step.words[0] not in ("doctor", "status") and not (answers.get(step.name) or {}).get(REFUSED)
    ]
    if chosen is not None:
        mine = {
            "quantize",
            chosen.name,
            *(f"{verb} {chosen.name}" for verb in ("check", "validate", "certify", "benchmark", "deploy")),
        }
        told = [step for step in told if step.name in mine]
    page = all(importlib.util.find_spec(name) is not None for name in ("jinja2", "vl_convert"))
    # The page judges what was lost, and no milliseconds.
    title = f"{request.name}: slower than the {request.max_ms:g} ms that are allowed" if slow and page else None
    place = request.place("report.html" if page else "report.md")
    return steps.report(request, tuple(step.answer for step in told), place, title)
