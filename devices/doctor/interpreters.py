"""The interpreter that models run on, beside what was seen of its release: as ``edgekit doctor`` tells it."""

from __future__ import annotations

from collections.abc import Iterator

from ..boards import runtimes
from .probe import BoardFacts
from .symptoms import Symptom, note, warning

_CHECKED = "ai-edge-litert"  # the table is about its releases
_OWN = {"ai-edge-litert": "has_ai_edge_litert", "tflite-runtime": "has_tflite_runtime"}


def row(facts: BoardFacts) -> str:
    """Return what runs models there, and what is known of it."""
    told = []
    for package, version, where in _found(facts):
        seen = runtimes.seen(package, version)
        known = "" if package != _CHECKED else f"; {'not among the releases that were checked' if seen is None else seen.text}"
        told.append(f"{package} {version} ({where}){known}")
    return "; ".join(told) or "none yet; deploy brings one"


def findings(facts: BoardFacts) -> Iterator[Symptom]:
    """Yield what is wrong with a release, or that nobody has looked at it."""
    for package, version, where in _found(facts):
        if package != _CHECKED:
            continue
        seen = runtimes.seen(package, version)
        if seen is None:
            first, *_, last = runtimes.checked()
            yield note(
                "runtime",
                f"{package} {version} ({where}) is not among the releases that were checked ({first} to {last}); edgekit selftest shows"
                " whether it answers as recorded",
            )
            continue
        if seen.faults:
            yield warning("runtime", f"{package} {version} ({where}): {'; '.join(seen.faults)}")
        if seen.lacks:
            reasons = "; ".join(seen.lacks)
            yield note(
                "runtime", f"{package} {version} ({where}) cannot keep packed weights, so models take more memory ({reasons})"
            )


def _found(facts: BoardFacts) -> Iterator[tuple[str, str, str]]:
    """Yield (package, version, where): that of the deployed release, else what the board's own Python has."""
    deployed = [answer.replace("_", "-").rpartition("-") for answer in facts.answers.get("runtime", ())]
    if deployed:
        yield from ((package, version, "deployed") for package, _, version in deployed if version)
        return
    for package, key in _OWN.items():
        version = facts.first(key)
        if version is not None and version != "unknown":
            yield package, version, "of the board's own Python"
