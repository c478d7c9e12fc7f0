"""The record of a training run: one row an epoch, as data and as a picture (SVG, written by hand: no plotting package needed)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edge.artefact.vocabulary import CLASS_KINDS
from edge.validation import headline as measures

_WIDTH, _HEIGHT, _MARGIN = 720, 360, 64
_LINES = (("float", "#4a7ebb"), ("fake_quantized", "#d08a2e"), ("int8", "#2f8f4e"))


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
    headline: str,
) -> dict[str, Any]:
    """Return the row of an epoch (0: calibrated, not trained).

    scores: for ``float`` and ``fake_quantized``, the figure of each output by name (`edge.validation.headline`), or None. report: the int8
    file's. ``outputs`` has all of them; at the top stand those of the output ``headline``.
    """
    outputs = {}
    for name, output in report["outputs"].items():
        figure, value = measures.of_report(output)
        outputs[name] = {"figure": figure, **{form: found.get(name) for form, found in scores.items()}, "int8": value}
    return {
        "epoch": epoch,
        "loss": loss,
        "output": headline,
        **outputs[headline],
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
    pad = max(0.005 if figure in measures.SHARES else 0.02 * high, 0.1 * (high - low), 1e-9)
    low, high = max(0.0, low - pad), (min(1.0, high + pad) if figure in measures.SHARES else high + pad)
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
        parts.append(f'<text x="{_MARGIN - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{measures.shown(figure, value)}</text>')
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
