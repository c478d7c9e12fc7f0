"""What a training run says to people. Loads no TensorFlow."""

from __future__ import annotations

from typing import Any

from edge.validation import headline

from .verdict import differs


def text(report: dict[str, Any]) -> str:
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
