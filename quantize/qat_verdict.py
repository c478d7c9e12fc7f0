"""Which of a run's files to deploy, and why, in one sentence that hides nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .qat_record import merit

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
            f"the trained file answers otherwise than the network in training (agreement {parity['agreement']:.1%}, first at"
            f" {parity['diverges'] or 'no single layer'}), so what was trained is not what it computes; PTQ: {text['ptq']}{tuned}"
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


def _is_chance(trained: Mapping[str, Any], plain: Mapping[str, Any]) -> bool:
    """Return whether ``trained`` leads by what chance gives, and moved further from float: then the lead is no reason to take it.

    The images that exactly one of two files has right are at most those that each has otherwise than float has. Under no
    difference their sides are coin tosses (McNemar), so a lead up to 1.64 of their standard deviations is chance at 5 %.
    """
    shifts = trained["probability_shift"], plain["probability_shift"]
    if trained["drop"] is None or plain["drop"] is None or None in shifts:
        return False
    tossed = sum(report["drop"][side] for report in (trained, plain) for side in ("flips_lost", "flips_won"))
    lead = (merit(trained) - merit(plain)) * trained["images"]
    return bool(lead <= 1.64 * math.sqrt(tossed) and shifts[0] > shifts[1])


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
    return ", ".join(parts) or f"merit {merit(report):.4f}"
