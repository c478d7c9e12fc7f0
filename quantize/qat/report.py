"""What a training run is remembered and told by: a row an epoch, the plot, which file to deploy, and the text. Loads no TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edge.artefact.vocabulary import CLASS_KINDS
from edge.validation import headline

_WIDTH, _HEIGHT, _MARGIN = 720, 360, 64
_LINES = (("float", "#4a7ebb"), ("fake_quantized", "#d08a2e"), ("int8", "#2f8f4e"))
_ASK = "how much of that is fine-tuning, which would help a float network too, only a float control tells (--float-control)"


def merit(report: Mapping[str, Any]) -> float:
    """Return one number for a validation report (``ValidationReport.to_dict``), higher is better, to choose between epochs.

    Classes with labels count by top-1, several labels at once by the share of images that have all of them right, each with a
    hundredth of agreement and shift to tell equal ones apart; without labels by agreement less shift. Numbers count by their error
    against the truth, or the reference, relative to the reference's error.
    """
    total = 0.0
    for output in report["outputs"].values():
        kind = output["kind"]
        if kind in CLASS_KINDS:
            close = (output.get("agreement") or 0.0) - (output.get("probability_shift") or 0.0)
            top1 = (output.get("candidate") or {}).get("top1")
            total += close if top1 is None else top1 + 0.01 * close
        elif kind == "multilabel":
            close = (output.get("agreement") or 0.0) - (output.get("score_shift") or 0.0)
            right = (output.get("candidate") or {}).get("exact_match")
            total += close if right is None else right + 0.01 * close
        elif kind == "features":
            total += output.get("cosine") or 0.0
        else:
            mae = (output.get("candidate") or {}).get("mae")
            reference = (output.get("reference") or {}).get("mae")
            apart = (output.get("difference") or {}).get("mean_absolute") or 0.0
            total -= mae / max(reference, 1e-9) if mae is not None and reference else apart
    return total


def row(
    epoch: int,
    loss: float | None,
    scores: Mapping[str, Mapping[str, float | None]],
    report: Mapping[str, Any],
    seconds: float,
    *,
    leading: str,
) -> dict[str, Any]:
    """Return the row of an epoch (0: calibrated, not trained).

    scores: for ``float`` and ``fake_quantized``, the figure of each output by name (`edge.validation.headline`), or None. report: the int8
    file's. ``outputs`` has all of them; at the top stand those of the output ``leading``.
    """
    outputs = {}
    for name, output in report["outputs"].items():
        figure, value = headline.of_report(output)
        outputs[name] = {"figure": figure, **{form: found.get(name) for form, found in scores.items()}, "int8": value}
    return {
        "epoch": epoch,
        "loss": loss,
        "output": leading,
        **outputs[leading],
        "agreement": report["agreement"],
        "probability_shift": report["probability_shift"],
        "outputs": outputs,
        "merit": merit(report),
        "seconds": round(seconds, 1),
    }


def plot(rows: Sequence[Mapping[str, Any]], ptq: float | None, title: str) -> str:
    """Return an SVG of float, fake-quantized and int8 by epoch, in the figure of the rows, with the PTQ file's as a dashed line."""
    figure = rows[0]["figure"] if rows else "top1"
    values = [r[name] for r in rows for name, _ in _LINES if r[name] is not None] + ([ptq] if ptq is not None else [])
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    pad = max(0.005 if figure in headline.SHARES else 0.02 * high, 0.1 * (high - low), 1e-9)
    low, high = max(0.0, low - pad), (min(1.0, high + pad) if figure in headline.SHARES else high + pad)
    last = max((r["epoch"] for r in rows), default=1) or 1

    def x(epoch: float) -> float:
        return _MARGIN + (_WIDTH - 2 * _MARGIN) * epoch / last

    def y(value: float) -> float:
        return _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * (value - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_MARGIN}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for i in range(5):
        value = low + (high - low) * i / 4
        parts.append(f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_MARGIN - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{headline.shown(figure, value)}</text>')
    for r in rows:
        parts.append(f'<text x="{x(r["epoch"]):.1f}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="middle">{r["epoch"]}</text>')
    if ptq is not None:
        line = f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{y(ptq):.1f}" y2="{y(ptq):.1f}" stroke="#888"'
        parts.append(f'{line} stroke-dasharray="6 4"/>')
        parts.append(f'<text x="{_WIDTH - _MARGIN + 4}" y="{y(ptq) + 4:.1f}" fill="#888">PTQ</text>')
    for i, (name, colour) in enumerate(_LINES):
        points = [(x(r["epoch"]), y(r[name])) for r in rows if r[name] is not None]
        joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
        parts.append(f'<text x="{_MARGIN + 130 * i}" y="{_HEIGHT - 12}" fill="{colour}">{name.replace("_", "-")}</text>')
    parts.append(
        f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 12}" text-anchor="end">epoch (0: calibrated, not trained)</text></svg>'
    )
    return "\n".join(parts) + "\n"


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


def to_text(report: dict[str, Any]) -> str:
    """Return the report for people: a table of the epochs for each output, and what follows from it."""
    lines = [line for name in report["epochs"][0]["outputs"] for line in _table(report, name)]
    parity = report["parity"]
    if not parity["holds"]:
        lines.append(f"warning: the converted file answers otherwise than the network in training ({differs(parity)})")
    lines += [report["reason"], f"deploy {report['recommended']}"]
    return "\n".join(lines)


def _table(report: dict[str, Any], name: str) -> list[str]:
    """One output by epoch; what is known of the whole file stands beside the output that leads."""
    rows = report["epochs"]
    figure, leads = rows[0]["outputs"][name]["figure"], rows[0]["output"] == name
    compared = leads and rows[0]["agreement"] is not None
    heads = [
        "epoch",
        "loss",
        "float",
        "fake-q.",
        "int8",
        *(["agreement", "shift"] if compared else []),
        *(["parity"] if leads else []),
    ]
    table = [heads]
    for row in rows:
        output, parity = row["outputs"][name], row["parity"]
        cells = [str(row["epoch"]), _decimals(row["loss"])]
        cells += [headline.shown(figure, output[form]) for form in ("float", "fake_quantized", "int8")]
        if compared:
            cells += [headline.shown("agreement", row["agreement"]), _decimals(row["probability_shift"])]
        if leads:
            steps = parity["agreement"] is None
            cells.append(f"{parity['steps']:.1f} steps" if steps else headline.shown("agreement", parity["agreement"]))
        table.append(cells)
    lines = [
        "".join(f"{cell:>{width}}" for cell, width in zip(cells, (5, 9, 9, 9, 9, 11, 9, 11), strict=False)) for cells in table
    ]
    marks = ["", *("  best" if row["epoch"] == report["best_epoch"] else "" for row in rows)]
    return [f"{name}: {headline.TITLES[figure]}", *(line + mark for line, mark in zip(lines, marks, strict=True))]


def _decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
