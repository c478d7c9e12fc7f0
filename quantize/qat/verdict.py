"""Which of a run's files to deploy, and why, in one sentence that hides nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edge.artefact.vocabulary import CLASS_KINDS
from edge.validation import headline

from .record import merit

_ASK = "how much of that is fine-tuning, which would help a float network too, only a float control tells (--float-control)"


def recommend(reports: Mapping[str, dict[str, Any]], parity: Mapping[str, Any], best_epoch: int) -> tuple[str, str]:
    """Return (``qat``, ``ptq`` or ``control``, why in a sentence), from the files' reports against float on the same images.

    reports: ``ptq``, ``qat`` and, where there is one, ``control``: the float network trained as long, quantized afterwards.
    best_epoch: 0 where no epoch of training made a better file than the one before training.
    """
    merits = {name: merit(report) for name, report in reports.items()}
    text = {name: sentence(report) for name, report in reports.items()}
    images = reports["qat"]["images"]
    tuned = f"; the float network after as many epochs, quantized afterwards: {text['control']}" if "control" in text else ""
    if not parity["holds"]:
        name = "control" if merits.get("control", merits["ptq"]) > merits["ptq"] else "ptq"
        return name, (
            f"the trained file answers otherwise than the network in training ({differs(parity)}), so what was trained is not what it"
            f" computes; PTQ: {text['ptq']}{tuned}"
        )
    best = max(("ptq", "control", "qat"), key=lambda name: merits.get(name, float("-inf")))  # of equal ones the simplest
    if best == "control":
        return best, (
            f"fine-tuning alone made the better file on {images} validation images: fine-tuned in float, then PTQ:"
            f" {text['control']}; QAT {text['qat']}; PTQ {text['ptq']}"
        )
    if best == "qat" and _is_chance(reports["qat"], reports["ptq"]):
        return "ptq", (
            f"QAT is ahead by no more than chance on {images} validation images, and its answers are further from the float network's:"
            f" QAT {text['qat']}; PTQ {text['ptq']}{tuned}"
        )
    if best == "qat" and best_epoch == 0:
        return best, (
            f"no epoch of training made a better file on {images} validation images; the one from before training (epoch 0) is"
            f" a little better than PTQ: {text['qat']}; PTQ {text['ptq']}"
        )
    if best == "qat":
        return best, f"training paid on {images} validation images: QAT {text['qat']}; PTQ {text['ptq']}{tuned or '; ' + _ASK}"
    return best, f"training did NOT make a better file on {images} validation images: QAT {text['qat']}; PTQ {text['ptq']}{tuned}"


def differs(parity: Mapping[str, Any]) -> str:
    """Return how the converted file differs from the network in training, for a sentence."""
    by = f"{parity['steps']:.1f} steps on average" if parity["agreement"] is None else f"agreement {parity['agreement']:.1%}"
    text = f"{by}, first at {parity['diverges'] or 'no single layer'}"
    moves = parity.get("moves")
    if moves is None:
        return text
    text += f"; the network in training itself moves by {moves:.1f} steps where every second number of its input moves by one"
    if moves < parity["steps"] / 2:
        return text
    return (
        f"{text}, and the file is {parity['steps']:.1f} apart: it makes much of little, and rounding may be all that parts them"
    )


def _is_chance(trained: Mapping[str, Any], plain: Mapping[str, Any]) -> bool:
    """Return whether ``trained`` leads by what chance gives, and moved further from float: then the lead is no reason to take it."""
    if all(report["drop"] is not None and report["probability_shift"] is not None for report in (trained, plain)):
        return _is_chance_in_classes(trained, plain)
    pairs = [(output, plain["outputs"][name]) for name, output in trained["outputs"].items() if "mae_increase" in output]
    return bool(pairs) and len(pairs) == len(trained["outputs"]) and all(_is_chance_in_numbers(*pair) for pair in pairs)


def _is_chance_in_classes(trained: Mapping[str, Any], plain: Mapping[str, Any]) -> bool:
    """For classes with labels.

    The images that exactly one of two files has right are at most those that each has otherwise than float has. Under no
    difference their sides are coin tosses (McNemar), so a lead up to 1.64 of their standard deviations is chance at 5 %.
    """
    tossed = sum(report["drop"][side] for report in (trained, plain) for side in ("flips_lost", "flips_won"))
    lead = (merit(trained) - merit(plain)) * trained["images"]
    return bool(lead <= 1.64 * math.sqrt(tossed) and trained["probability_shift"] > plain["probability_shift"])


def _is_chance_in_numbers(trained: Mapping[str, Any], plain: Mapping[str, Any]) -> bool:
    """For a regression output with targets.

    Each file's error less float's has a 95 % interval; the difference of the two is taken to be as uncertain as that of
    independent ones, which it is at most where both follow float.
    """
    halves = [(high - low) / 2 for low, high in (output["mae_increase"]["ci95"] for output in (trained, plain))]
    lead = plain["mae_increase"]["mean"] - trained["mae_increase"]["mean"]
    moved = [output["difference"]["mean_absolute"] for output in (trained, plain)]
    return bool(lead <= math.hypot(*halves) and moved[0] > moved[1])


def sentence(report: Mapping[str, Any]) -> str:
    """Return what a validation report says, in half a line."""
    parts = []
    top1, drop = report["candidate"]["top1"], report["drop"]
    if top1 is not None:
        parts.append(f"top-1 {top1:.1%}")
    if drop is not None:
        low, high = drop["ci95"]
        parts.append(f"drop {100 * drop['top1']:+.2f} points ({100 * low:+.2f} to {100 * high:+.2f})")
    if report["agreement"] is not None:
        parts.append(f"agreement {report['agreement']:.1%}")
    if report["probability_shift"] is not None:
        parts.append(f"probability shift {report['probability_shift']:.4f}")
    parts += [f"{name} {_numbers(output)}" for name, output in report["outputs"].items() if output["kind"] not in CLASS_KINDS]
    return ", ".join(parts)


def _numbers(output: Mapping[str, Any]) -> str:
    """Return what a report says of one output that names no class: ``mean absolute error 0.1206 (float 0.121)``."""
    figure, value = headline.of_report(output)
    known = (output.get("reference") or {}).get(figure)
    return f"{headline.TITLES[figure]} {headline.shown(figure, value)}" + (
        "" if known is None else f" (float {headline.shown(figure, known)})"
    )
