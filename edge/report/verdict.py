"""The answer of a report in one sentence, from the proofs in it."""

from __future__ import annotations

from dataclasses import dataclass

from ..statistics import FAIL, PASS, UNDECIDED
from .facts import Drop, Facts, Timing, Validation, basename

NONE = "none"  # nobody asked for a verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``status``: pass, fail, undecided or none. ``candidate``: the key of the variant that the sentence is about."""

    status: str
    sentence: str
    candidate: str | None


def judge(facts: Facts) -> Verdict:
    """Return the verdict: pass if any variant other than the reference is proven, and which of them to take.

    Full int8 goes first, since it is what boards run best and all that an Edge TPU takes; then what is fastest.
    """
    candidates = [entry for entry in facts.validations if entry.variant != entry.reference and _kind(facts, entry) != "float32"]
    candidates = candidates or list(facts.validations)
    proven = [entry for entry in candidates if entry.drop is not None]
    asked = [entry for entry in proven if entry.verdict is not None]
    if asked:
        passed = [entry for entry in asked if entry.verdict == PASS]
        if passed:
            best = min(passed, key=lambda entry: _preference(facts, entry))
            others = "" if len(asked) == 1 else f" {len(passed)} of {len(asked)} validations pass."
            return Verdict(status=PASS, sentence=f"Deploy {_passes(facts, best)}.{others}", candidate=best.variant)
        worst = FAIL if any(entry.verdict == FAIL for entry in asked) else UNDECIDED
        chosen = min(asked, key=lambda entry: (entry.verdict != UNDECIDED, _preference(facts, entry)))
        return Verdict(status=worst, sentence=_not_proven(facts, asked, chosen), candidate=chosen.variant)
    if proven:
        best = min(proven, key=lambda entry: _preference(facts, entry))
        assert best.drop is not None
        return Verdict(
            status=NONE,
            sentence=f"{facts.variant(best.variant).name} {_loses(best)}, measured on {best.images:,} images; no limit was set"
            " (--max-drop), so this is no verdict.",
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


def fastest(facts: Facts, key: str) -> Timing | None:
    """Return the shortest time that was measured of a variant."""
    return min((entry for entry in facts.timings if entry.variant == key), key=lambda entry: entry.p50_ms, default=None)


def gains(facts: Facts, entry: Validation) -> tuple[float | None, float | None, str | None]:
    """Return how many times smaller and faster a variant is than its reference, and where that was measured."""
    names = {variant.key: variant for variant in facts.variants}
    # Stored outputs of the original network have neither size nor time: the float32 file stands for it.
    in_float = next((variant for variant in facts.variants if variant.name.endswith("float32")), None)
    mine, theirs = names.get(entry.variant), names.get(entry.reference or "") or in_float
    if theirs is None or mine is None or theirs.key == mine.key:
        return None, None, None
    smaller = theirs.size_bytes / mine.size_bytes if mine.size_bytes and theirs.size_bytes else None
    times = {(timing.place, timing.variant): timing.p50_ms for timing in facts.timings}
    for (place, variant), milliseconds in times.items():
        before = times.get((place, theirs.key))
        if variant == entry.variant and before is not None:
            return smaller, before / milliseconds, place
    return smaller, None, None


def _passes(facts: Facts, entry: Validation) -> str:
    assert entry.drop is not None and entry.max_drop is not None
    smaller, faster, place = gains(facts, entry)
    how = [f"{smaller:.1f} times smaller"] if smaller and smaller > 1.05 else []
    if faster is not None:
        how.append(f"{faster:.1f} times as fast on {place}")
    said = f": {' and '.join(how)}, and" if how else ":"
    name = basename(facts.variant(entry.variant).file) or facts.variant(entry.variant).name
    return f"{name}{said} with 95 % confidence it {_at_most(entry.drop)} ({100 * entry.max_drop:.2f} are allowed)"


def _at_most(drop: Drop) -> str:
    """Say the upper end of the interval; rounded to zero it would say nothing."""
    most = 100 * drop.high
    if most <= 0:
        return "loses no top-1: the whole interval lies where it is as good as the reference or better"
    return f"loses at most {most:.2f} points of top-1" if most >= 0.005 else "loses less than 0.01 points of top-1"


def _not_proven(facts: Facts, asked: list[Validation], chosen: Validation) -> str:
    assert chosen.max_drop is not None
    name = facts.variant(chosen.variant).name
    subject = name if len(asked) == 1 else f"Nothing is proven to lose at most {100 * chosen.max_drop:.2f} points: {name}"
    limit = f" (at most {100 * chosen.max_drop:.2f} are allowed)" if len(asked) == 1 else ""
    if chosen.verdict == FAIL:
        return f"{subject} fails: it {_loses(chosen)}{limit}."
    more = f"; about {chosen.images_to_decide:,} images like these would decide it" if chosen.images_to_decide else ""
    return f"{subject} is undecided: it {_loses(chosen)}{limit}{more}."


def _loses(entry: Validation) -> str:
    assert entry.drop is not None
    drop = entry.drop
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
        return f"{facts.variant(best.variant).name} takes {best.p50_ms:.3g} ms on {best.place}; no accuracy was measured."
    if facts.predictions:
        fits = sum(entry.fits is True for entry in facts.predictions)
        return f"{fits} of {len(facts.predictions)} combinations of model and board are predicted to fit; nothing was measured."
    if facts.trainings:
        return facts.trainings[-1].reason
    if facts.explanations:
        return f"The largest step from float to int8 is: {facts.explanations[-1].worst_step}."
    return f"{len(facts.runs)} runs, none of which measured anything."


def _any_candidate(facts: Facts) -> str | None:
    named = [variant.key for variant in facts.variants if "int8" in variant.name]
    return named[0] if named else facts.variants[-1].key if facts.variants else None


def _kind(facts: Facts, entry: Validation) -> str:
    return facts.variant(entry.variant).name.partition(" ")[0].rpartition(".")[2]


def _preference(facts: Facts, entry: Validation) -> tuple[bool, float]:
    timing = fastest(facts, entry.variant)
    return not _kind(facts, entry).startswith("int8"), timing.p50_ms if timing else float("inf")
