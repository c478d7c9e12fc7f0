"""The answer of a report in one sentence, from the proofs in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..numbers.statistics import FAIL, PASS, UNDECIDED
from ..validation.text import ANOTHER_LOOK
from .facts import Drop, Facts, Timing, Validation, basename

NONE = "none"  # nobody asked for a verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``status``: pass, fail, undecided or none. ``candidate``: the key of the variant that the sentence is about."""

    status: str
    sentence: str
    candidate: str | None


def judge(facts: Facts) -> Verdict:
    """Return the verdict: pass if every validation that was to give one passes, and which variant to take.

    Full int8 goes first, since it is what boards run best and all that an Edge TPU takes; then what is fastest. A variant that passes
    beside one that does not is named, and is no pass of what was asked; nor is one that passes at one place and fails at another.
    """
    candidates = [entry for entry in facts.validations if entry.variant != entry.reference and _kind(facts, entry) != "float32"]
    candidates = candidates or list(facts.validations)
    proven = [entry for entry in candidates if entry.drop is not None]
    # A reference passes against itself, which says nothing.
    compared = [entry for entry in facts.validations if entry.variant != entry.reference] or list(facts.validations)
    asked = [entry for entry in compared if entry.verdict is not None]
    if asked:
        open_ = [entry for entry in asked if entry.verdict != PASS]
        without = {entry.variant for entry in open_}
        passed = [entry for entry in asked if entry.variant not in without]
        passed = [entry for entry in passed if entry in candidates] or passed
        best = min(passed, key=_preference(facts, passed)) if passed else None
        if best is not None and not open_:
            more = [] if len(asked) == 1 else [f"All {len(asked)} validations with a limit pass."]
            more += _not_asked(facts, candidates, asked)
            return Verdict(status=PASS, sentence=" ".join([f"Deploy {_passes(facts, best)}.", *more]), candidate=best.variant)
        worst = FAIL if any(entry.verdict == FAIL for entry in asked) else UNDECIDED
        preference = _preference(facts, open_)
        chosen = min(open_, key=lambda entry: (entry.verdict != worst, preference(entry)))
        said = [_not_proven(facts, asked, chosen), *([] if best is None else [f"What passes: {_passes(facts, best)}."])]
        return Verdict(status=worst, sentence=" ".join(said), candidate=chosen.variant)
    if proven:
        best = min(proven, key=_preference(facts, proven))
        return Verdict(
            status=NONE,
            sentence=f"{facts.variant(best.variant).name} {_loses(best)}, measured on {best.images:,} images{_where(facts, best)};"
            " no limit was set (--max-drop), so this is no verdict.",
            candidate=best.variant,
        )
    return Verdict(status=NONE, sentence=_without_proof(facts), candidate=_any_candidate(facts))


def title_of(facts: Facts) -> str:
    """Return what the report is about: the models' common name, or how many there are."""
    names = {basename(variant.file).removesuffix(".tflite").rpartition(".")[0] for variant in facts.variants}
    count = len(facts.variants)
    what = f"{count} variant{'' if count == 1 else 's'}"
    if len(names) == 1 and (name := names.pop()):
        return f"{name}: {what}"
    if count:
        return what
    return f"{len(facts.runs)} run{'' if len(facts.runs) == 1 else 's'}"


def points(fraction: float) -> str:
    """Return a difference of rates in percentage points, signed."""
    value = 100 * fraction
    return f"{0.0 if abs(value) < 0.005 else value:+.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gains:
    """How many times smaller and faster than the reference; ``timing``: of the variant, where both were timed."""

    smaller: float | None = None
    faster: float | None = None
    timing: Timing | None = None
    quotable: bool = True

    @property
    def place(self) -> str:
        """Where it is faster, and whether that may be quoted."""
        return "" if self.timing is None else f"{self.timing.origin}{'' if self.quotable else ' (not quotable)'}"


def gains(facts: Facts, entry: Validation) -> Gains:
    """Return how many times smaller and faster a variant is than its reference. Times of one origin only are compared."""
    names = {variant.key: variant for variant in facts.variants}
    # Stored outputs of the original network have neither size nor time: the float32 file stands for it.
    in_float = next((variant for variant in facts.variants if variant.name.endswith("float32")), None)
    mine, theirs = names.get(entry.variant), names.get(entry.reference or "") or in_float
    if theirs is None or mine is None or theirs.key == mine.key:
        return Gains()
    smaller = theirs.size_bytes / mine.size_bytes if mine.size_bytes and theirs.size_bytes else None
    before = {timing.origin: timing for timing in facts.timings if timing.variant == theirs.key}
    for timing in facts.timings:
        if timing.variant == mine.key and timing.origin in before:
            faster, both = timing.times_as_fast_as(before[timing.origin]), timing.quotable and before[timing.origin].quotable
            return Gains(smaller=smaller, faster=faster, timing=timing, quotable=both)
    return Gains(smaller=smaller)


def _where(facts: Facts, entry: Validation) -> str:
    """Say where it was measured, if it was an emulation or not all was measured at one place."""
    several = len({other.origin for other in facts.validations}) > 1
    return f" on {entry.origin}" if several or entry.origin.emulated else ""


def _passes(facts: Facts, entry: Validation) -> str:
    assert entry.max_drop is not None
    found = gains(facts, entry)
    how = [f"{found.smaller:.1f} times smaller"] if found.smaller and found.smaller > 1.05 else []
    if found.faster is not None:
        how.append(f"{found.faster:.1f} times as fast on {found.place}")
    said = f": {' and '.join(how)}, and" if how else ":"
    name = basename(facts.variant(entry.variant).file) or facts.variant(entry.variant).name
    where = f", measured{on}" if (on := _where(facts, entry)) else ""
    if entry.drop is None:
        return f"{name}{said} by a sequential test it loses less than {100 * entry.max_drop:.2f} points of top-1{where}"
    return f"{name}{said} with 95 % confidence it {_at_most(entry.drop)} ({100 * entry.max_drop:.2f} are allowed){where}"


def _at_most(drop: Drop) -> str:
    """Say the upper end of the interval; rounded to zero it would say nothing."""
    most = 100 * drop.high
    if most <= 0:
        return "loses no top-1: the whole interval lies where it is as good as the reference or better"
    return f"loses at most {most:.2f} points of top-1" if most >= 0.005 else "loses less than 0.01 points of top-1"


def _not_asked(facts: Facts, candidates: Sequence[Validation], asked: Sequence[Validation]) -> list[str]:
    """Say of which variants nobody asked for a verdict."""
    known = {entry.variant for entry in asked}
    names = [facts.variant(key).name for key in dict.fromkeys(entry.variant for entry in candidates) if key not in known]
    return [f"Without a limit (--max-drop), and so without a verdict: {', '.join(names)}."] if names else []


def _not_proven(facts: Facts, asked: list[Validation], chosen: Validation) -> str:
    assert chosen.max_drop is not None
    name = facts.variant(chosen.variant).name
    passed = sum(entry.verdict == PASS for entry in asked)
    subject = name if len(asked) == 1 else f"{passed} of {len(asked)} validations pass: {name}"
    limit = f" (at most {100 * chosen.max_drop:.2f} are allowed)"
    if chosen.verdict == FAIL:
        return f"{subject} fails: it {_loses(chosen)}{limit}{_where(facts, chosen)}."
    more = (
        f"; about {chosen.images_to_decide:,} images like these would decide it {ANOTHER_LOOK}" if chosen.images_to_decide else ""
    )
    return f"{subject} is undecided: it {_loses(chosen)}{limit}{_where(facts, chosen)}{more}."


def _loses(entry: Validation) -> str:
    drop, counts = entry.drop, entry.sequential
    if counts is not None:
        return f"lost {counts.lost} and won {counts.won} of {entry.images:,} images in a sequential test"
    assert drop is not None
    return f"loses {points(drop.top1)} points of top-1 (95 % interval {points(drop.low)} to {points(drop.high)})"


def _without_proof(facts: Facts) -> str:
    if facts.validations:
        entry = facts.validations[-1]
        name = facts.variant(entry.variant).name
        if entry.top1 is not None:
            return f"{name} is right on {entry.top1:.1%} of {entry.images:,} images; nothing was compared with a reference."
        if entry.agreement is not None:
            return f"{name} gives the reference's answer on {entry.agreement:.1%} of {entry.images:,} images without labels."
        return f"{name} was run on {entry.images:,} images; its outputs are below."
    if facts.timings:
        best = min(facts.timings, key=lambda entry: entry.p50_ms)
        return f"{facts.variant(best.variant).name} takes {best.p50_ms:.3g} ms on {best.origin}; no accuracy was measured."
    if facts.predictions:
        fits = sum(entry.fits is True for entry in facts.predictions)
        return f"{fits} of {len(facts.predictions)} combinations of model and board are predicted to fit; nothing was measured."
    if facts.trainings:
        return facts.trainings[-1].reason
    if facts.shrinkings:
        return facts.shrinkings[-1].reason
    if facts.explanations:
        return f"The largest step from float to int8 is: {facts.explanations[-1].worst_step}."
    return f"{len(facts.runs)} runs, none of which measured anything."


def _any_candidate(facts: Facts) -> str | None:
    named = [variant.key for variant in facts.variants if "int8" in variant.name]
    return named[0] if named else facts.variants[-1].key if facts.variants else None


def _kind(facts: Facts, entry: Validation) -> str:
    return facts.variant(entry.variant).name.partition(" ")[0].rpartition(".")[2]


def _preference(facts: Facts, entries: Sequence[Validation]) -> Callable[[Validation], tuple[bool, float]]:
    """Return what to order by: int8 first, then the time, where one machine or board has timed all of them."""
    keys = {entry.variant for entry in entries}
    times = {(timing.origin, timing.variant): timing.p50_ms for timing in facts.timings}
    common = next((origin for origin in facts.origins if all((origin, key) in times for key in keys)), None)

    def order(entry: Validation) -> tuple[bool, float]:
        return not _kind(facts, entry).startswith("int8"), 0.0 if common is None else times[common, entry.variant]

    return order
