"""How a quantization-aware training went."""

from __future__ import annotations

from ..validation import headline
from .chart import PERCENT, Chart, Spec, spec, tips
from .facts import Training


def training(entry: Training, number: int) -> list[Chart]:
    """Return the figure of the output that leads by epoch, and the loss where there is one."""
    title = headline.TITLES.get(entry.figure, entry.figure)
    kinds = (("float", 2), ("fake-quantized", 3), ("int8 file", 4))
    rows = [{"epoch": at[0], "share": at[i], "kind": kind} for at in entry.epochs for kind, i in kinds if at[i] is not None]
    charts = []
    if rows:
        at_x = {"field": "epoch", "type": "quantitative", "title": "epoch (0: not trained yet)", "axis": _epochs(entry)}
        scale = {"domain": [kind for kind, _ in kinds], "range": ["var(--c0)", "var(--c3)", "var(--c4)"]}
        at_y = {
            "field": "share",
            "type": "quantitative",
            "scale": {"zero": False},
            "title": title,
            "axis": {"format": PERCENT if entry.figure in headline.SHARES else ".3~g"},
        }
        colour = {"field": "kind", "type": "nominal", "scale": scale, "title": None}
        line = {"type": "line", "point": {"size": 50, "filled": True}}
        layers: list[Spec] = [
            {
                "mark": line,
                "name": "marks",
                "encoding": {"x": at_x, "y": at_y, "color": colour, "tooltip": tips("kind", "epoch")},
            }
        ]
        if entry.post_training is not None:
            data = {"data": {"values": [{"share": entry.post_training}]}}
            rule = {"type": "rule", "strokeDash": [5, 4], "color": "var(--muted)"}
            layers.append({**data, "mark": rule, "encoding": {"y": at_y}})
        charts.append(
            Chart(
                id=f"training-{number}",
                title=f"{entry.name}: {title} by epoch",
                alt=f"Epoch {entry.best_epoch} is the best. The dashed line is post-training quantization.",
                specs={"": spec(layers, rows, height=240)},
                headers=("epoch", *(kind for kind, _ in kinds)),
                rows=tuple((str(at[0]), *(headline.shown(entry.figure, value) for value in at[2:])) for at in entry.epochs),
                narrow=True,
            )
        )
    losses = [{"epoch": at[0], "loss": at[1]} for at in entry.epochs if at[1] is not None]
    if len(losses) > 1:
        encoding = {
            "x": {"field": "epoch", "type": "quantitative", "title": "epoch", "axis": _epochs(entry)},
            "y": {"field": "loss", "type": "quantitative", "title": "loss"},
            "tooltip": tips("epoch", "loss"),
        }
        mark = {"type": "line", "point": {"size": 50, "filled": True}, "color": "var(--c0)"}
        charts.append(
            Chart(
                id=f"loss-{number}",
                title=f"{entry.name}: training loss",
                alt=f"The loss goes from {losses[0]['loss']:.3g} to {losses[-1]['loss']:.3g}.",
                specs={"": spec([{"mark": mark, "name": "marks", "encoding": encoding}], losses, height=240)},
                headers=("epoch", "loss"),
                rows=tuple((str(row["epoch"]), f"{row['loss']:.4g}") for row in losses),
                narrow=True,
            )
        )
    return charts


def _epochs(entry: Training) -> Spec:
    step = 1 + len(entry.epochs) // 12
    return {"values": [at[0] for at in entry.epochs][::step], "format": "d"}
