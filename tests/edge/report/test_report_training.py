"""How the report shows a quantization-aware training: in the figure of the output that leads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge.history.store import RunStore
from edge.report import gathering, sources, training_charts
from edge.report.facts import Training


def gathered(folder: Path, rows: list[dict[str, Any]], ptq: dict[str, Any]) -> Training:
    made = {"trained": "bot.int8-qat.tflite", "ptq": "bot.int8.tflite", "recommended": "bot.int8.tflite", "reason": "chance"}
    (folder / "qat.json").write_text(json.dumps({**made, "best_epoch": 1, "epochs": rows, "comparison": {"ptq": ptq}}))
    facts = gathering.gather(*sources.collect([str(folder)], RunStore(folder / "none.sqlite")))
    assert facts.left_out == ()
    return facts.trainings[0]


def row(epoch: int, error: float, **more: Any) -> dict[str, Any]:
    return {"epoch": epoch, "loss": None if epoch == 0 else 0.5, "float": error, "fake_quantized": error, "int8": error, **more}


def test_numbers_are_shown_as_errors(tmp_path: Path) -> None:
    rows = [row(epoch, 0.0862 - 0.001 * epoch, output="steering", figure="mae") for epoch in range(2)]
    output = {"kind": "regression", "candidate": {"mae": 0.0863}}
    entry = gathered(tmp_path, rows, {"candidate": {"top1": None}, "outputs": {"steering": output}})
    assert (entry.figure, entry.post_training) == ("mae", 0.0863)
    chart = training_charts.training(entry, 0)[0]
    assert chart.title == "bot.int8-qat.tflite: mean absolute error by epoch"
    assert chart.rows == (("0", "0.0862", "0.0862", "0.0862"), ("1", "0.0852", "0.0852", "0.0852"))
    assert "%" not in json.dumps(chart.specs[""])


def test_records_that_knew_classes_only_are_shares(tmp_path: Path) -> None:
    entry = gathered(tmp_path, [row(0, 0.9), row(1, 0.95)], {"candidate": {"top1": 0.91}})
    assert (entry.figure, entry.post_training) == ("top1", 0.91)
    chart = training_charts.training(entry, 0)[0]
    assert chart.title == "bot.int8-qat.tflite: top-1 by epoch" and chart.rows[0] == ("0", "90.0%", "90.0%", "90.0%")
