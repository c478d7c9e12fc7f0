"""What is said of all of it in the end: one verdict, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devices.origin import THIS_MACHINE
from edge.numbers.statistics import FAIL, PASS, UNDECIDED

from .candidates import Answers, Candidate
from .plan import Plan
from .request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``status``: pass, fail or undecided; ``file``: what may be deployed, None where nothing may."""

    status: str
    sentence: str
    file: str | None

    @property
    def exit_code(self) -> int:
        """0 for a pass, else 1."""
        return 0 if self.status == PASS else 1


def judge(request: Request, plan: Plan, answers: Answers) -> Verdict:
    """Return the verdict on all that was found."""
    chosen = plan.chosen
    if chosen is None:
        return _slow(request, plan, answers) if plan.best is not None else _lossy(request, plan, answers)
    there = answers.get(f"certify {chosen.name}")
    if there is not None and there.get("verdict") != PASS:
        status = UNDECIDED if there.get("verdict") == UNDECIDED else FAIL
        said = f"{chosen.file} {_loses(there, request)} on {request.board}, and was not deployed; {_bits(there, request)}"
        return Verdict(status=status, sentence=f"{status}: {said}", file=None)
    if request.board is None and chosen.fits(answers) is False:
        said = (
            f"{chosen.file} is predicted not to fit {plan.profile}; edgekit check {chosen.file} --board {plan.profile} says why"
        )
        return Verdict(status=FAIL, sentence=f"{FAIL}: {said}", file=None)
    parts = [f"{chosen.file} {_loses(there or answers.get(f'validate {chosen.name}') or {}, request)}"]
    parts += _speed(chosen, request, plan, answers)
    if there is not None:
        parts.append(_bits(there, request))
    deployed = answers.get(f"deploy {chosen.name}")
    if deployed is not None:
        parts.append(f"it is the current release of {request.board} ({deployed.get('release')})")
    return Verdict(status=PASS, sentence=f"{PASS}: {'; '.join(parts)}", file=chosen.file)


def _lossy(request: Request, plan: Plan, answers: Answers) -> Verdict:
    found = {each.name: answers.get(f"validate {each.name}") or {} for each in plan.candidates}
    open_ = any(answer.get("verdict") == UNDECIDED for answer in found.values())
    status = UNDECIDED if open_ else FAIL
    told = [f"{each.name} {_loses(found[each.name], request)}" for each in plan.candidates]
    return Verdict(status=status, sentence=f"{status}: nothing may be deployed: {'; '.join(told)}", file=None)


def _slow(request: Request, plan: Plan, answers: Answers) -> Verdict:
    assert plan.best is not None
    if plan.best.measured_ms(answers) is None and plan.best.predicted_ms(answers) is None:
        said = f"nobody knows how fast {plan.best.file} is on {request.board or plan.profile} ({request.max_ms:g} ms allowed)"
        return Verdict(status=UNDECIDED, sentence=f"{UNDECIDED}: {said}", file=None)
    speed = "; ".join(_speed(plan.best, request, plan, answers))
    said = f"{plan.best.file} {_loses(answers.get(f'validate {plan.best.name}') or {}, request)}, and is too slow: {speed}"
    return Verdict(status=FAIL, sentence=f"{FAIL}: {said}", file=None)


def _loses(found: Mapping[str, Any], request: Request) -> str:
    drop = found.get("drop")
    if not drop:
        return "has no verdict"
    low, high = (100 * bound for bound in drop["ci95"])
    allowed, images = f"{100 * request.max_drop:.2f} allowed", f"{found.get('images', 0):,} photos"
    if found.get("verdict") == PASS:
        return f"loses at most {max(high, 0.0):.2f} points of top-1 ({allowed}; {images})"
    return f"loses {100 * drop['top1']:+.2f} points of top-1 ({low:+.2f} to {high:+.2f}; {allowed}; {images})"


def _speed(candidate: Candidate, request: Request, plan: Plan, answers: Answers) -> list[str]:
    allowed = "" if request.max_ms is None else f" ({request.max_ms:g} allowed)"
    found = answers.get(f"benchmark {candidate.name}")
    measured, predicted = candidate.measured_ms(answers), candidate.predicted_ms(answers)
    if measured is not None and found is not None:
        doubt = "" if found.get("quotable", True) else ", measured while something was in its way"
        return [f"{measured:.3g} ms on {request.board}{allowed}{doubt}"]
    if predicted is not None:
        return [f"{predicted:.3g} ms predicted for {plan.profile}{allowed}"]
    return []


def _bits(found: Mapping[str, Any], request: Request) -> str:
    images = (found.get("certificate") or {}).get("images")
    if found.get("measured_on") == THIS_MACHINE:
        return f"the bits of {images} photos are the same on {request.board} as here"
    return f"all photos were run on {request.board}, as its bits are not proven to be those from here"
