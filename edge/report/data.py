"""The figures of a report as plain data for ``edgekit report --json``, each with its origin."""

from __future__ import annotations

from typing import Any

from .facts import Facts, Prediction, Timing, Validation


def figures(facts: Facts) -> dict[str, Any]:
    """Return validations, timings and predictions, each with the variant's name and where it comes from."""
    return {
        "validations": [_validation(facts, entry) for entry in facts.validations],
        "timings": [_timing(facts, entry) for entry in facts.timings],
        "predictions": [_prediction(facts, entry) for entry in facts.predictions],
    }


def _about(facts: Facts, entry: Validation | Timing | Prediction) -> dict[str, Any]:
    return {
        "variant": facts.variant(entry.variant).name,
        "model_sha256": entry.variant,
        "origin": entry.origin.to_dict(),
        "run": entry.run.id if entry.run.id is not None else entry.run.source,
    }


def _validation(facts: Facts, entry: Validation) -> dict[str, Any]:
    drop, flips = entry.drop, entry.drop or entry.sequential
    return {
        **_about(facts, entry),
        "images": entry.images,
        "dataset_sha256": entry.run.dataset_sha256,
        "top1": entry.top1,
        "reference_top1": entry.reference_top1,
        "drop": None if drop is None else {"top1": drop.top1, "ci95": [drop.low, drop.high], "p_value": drop.p_value},
        "flips_lost": None if flips is None else flips.lost,
        "flips_won": None if flips is None else flips.won,
        "agreement": entry.agreement,
        "max_drop": entry.max_drop,
        "verdict": entry.verdict,
        "sequential": entry.sequential is not None,
        "holds_on": [{"origin": found.origin.to_dict(), "images": found.images} for found in entry.holds_on],
    }


def _timing(facts: Facts, entry: Timing) -> dict[str, Any]:
    percentiles = {f"{name}_ms": getattr(entry, f"{name}_ms") for name in ("min", "p50", "p90", "p99")}
    return {**_about(facts, entry), **percentiles, "memory_mib": entry.memory_mib, "quotable": entry.quotable}


def _prediction(facts: Facts, entry: Prediction) -> dict[str, Any]:
    ends = {"low": entry.low_ms, "expected": entry.expected_ms, "high": entry.high_ms}
    return {
        **_about(facts, entry),
        "fits": entry.fits,
        "latency_ms": None if entry.expected_ms is None else ends,
        "peak_mib": entry.peak_mib,
    }
