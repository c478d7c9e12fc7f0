"""What would help where nothing may be deployed: the command that a person would type, and about how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.numbers import statistics
from edge.numbers.statistics import UNDECIDED

from . import steps
from .candidates import Answers
from .plan import Plan
from .request import Request
from .steps import Step

_SHRINK_MINUTES = 30.0  # what edgekit shrink takes unless it is told otherwise
_TUNE_LOOKS = 20  # files that edgekit tune compares with float32, more or less
_EPOCHS = 5  # of edgekit qat, unless it is told otherwise
_MOST_PHOTOS = 10**9
_TRAINING = 10  # a photo in training takes as long as so many in a validation, more or less


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """``kind``: of `request.RESCUES`, or photos. ``line``: what to type, empty for photos. ``about_s``: seconds, None where unknown."""

    kind: str
    why: str
    line: str = ""
    about_s: float | None = None

    def to_text(self) -> str:
        """Return it in one line for people."""
        about = "" if self.about_s is None else f" (about {max(1, round(self.about_s / 60))} min)"
        return f"{self.why}{about}: {self.line}" if self.line else self.why

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"kind": self.kind, "why": self.why, "line": self.line or None, "about_s": self.about_s}


def too_few(images: int, max_drop: float) -> str:
    """Return the sentence that says that so many photos prove the limit for no file that answers as float32 does, or ""."""
    needed = images
    while needed < _MOST_PHOTOS and statistics.paired_interval(0, 0, needed)[1] > max_drop:
        needed += needed // 100 + 1
    if needed == images:
        return ""
    return (
        f"{images:,} photos in --test are too few to prove a drop of at most {100 * max_drop:g} points, even for a file that answers"
        f" just as float32 does: about {needed:,} are needed, or a larger --max-drop"
    )


def advise(request: Request, plan: Plan, answers: Answers, took_s: Callable[[str], float | None], train: int) -> list[Advice]:
    """Return what was not tried and might help. took_s: seconds of a step that was done. train: photos for training."""
    tried = {step.name for step in plan.steps}
    found: list[Advice] = []
    if plan.best is None:
        open_ = [answers.get(f"validate {each.name}") or {} for each in plan.candidates]
        wanted = [
            answer["images_to_decide"]
            for answer in open_
            if answer.get("verdict") == UNDECIDED and answer.get("images_to_decide")
        ]
        doubt = too_few(max(answer.get("images", 1) for answer in open_), request.max_drop) if open_ else ""
        if doubt:
            return [Advice(kind="photos", why=doubt)]
        if wanted:
            why = f"about {min(wanted):,} photos like these in --test would decide, where now it is undecided"
            found.append(Advice(kind="photos", why=why))
        found += _for_accuracy(request, plan, answers, took_s, train, tried)
    elif _is_slow(plan, answers) and "shrink" not in tried:
        assert plan.best is not None
        step = steps.shrink(request, plan.profile, plan.best.measured_ms(answers))
        found.append(_told(step, "a smaller network may be fast enough", 60.0 * (request.minutes or _SHRINK_MINUTES)))
    return found


def _is_slow(plan: Plan, answers: Answers) -> bool:
    """Whether what passes is known to be too slow."""
    known = plan.best is not None and (plan.best.measured_ms(answers) or plan.best.predicted_ms(answers)) is not None
    return plan.chosen is None and known


def _for_accuracy(
    request: Request, plan: Plan, answers: Answers, took_s: Callable[[str], float | None], train: int, tried: set[str]
) -> list[Advice]:
    first = plan.candidates[0].name if plan.candidates else ""
    making, proving = took_s("quantize") or 0.0, took_s(f"validate {first}")
    images = (answers.get(f"validate {first}") or {}).get("images")
    found = []
    if "tune" not in tried:
        about = None if proving is None else making + _TUNE_LOOKS * proving
        found.append(_told(steps.tune(request, plan.profile), "a few blocks in float may keep the accuracy", about))
    if "qat" not in tried:
        about = None if proving is None or not images else making + _EPOCHS * proving * (1 + _TRAINING * train / images)
        found.append(_told(steps.qat(request), "training as the int8 file that it will be may keep it", about))
    return found


def _told(step: Step, why: str, about_s: float | None) -> Advice:
    return Advice(kind=step.name, why=f"{step.name}: {why}", line=step.line, about_s=None if about_s is None else round(about_s))
