"""A folder of real answers, and the facts and the page that a report makes of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edge
from edge.artefact import container
from edge.artefact.contract import Contract, Quantization
from edge.history.store import RunStore
from edge.predict import check_report
from edge.report import gathering, page, sources
from edge.report.facts import Facts

EVIL = ("<script>", "<img src=x onerror=alert(1)>", "a|b*c", "plain")
BOARDS = ("pi-4b", "pi-5", "coral-dev-board")


@pytest.fixture(scope="session")
def evil_images(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> Path:
    """The tiny images under class names that would do harm in a page that does not escape them."""
    folder = tmp_path_factory.mktemp("evil")
    for source, label in zip(sorted(tiny_images.iterdir()), EVIL, strict=True):
        (folder / label).mkdir()
        for image in source.iterdir():
            shutil.copy(image, folder / label / f'"><b onclick=x>{image.name}')
    return folder


@pytest.fixture(scope="session")
def results(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_int8_flatbuffer: bytes,
    tiny_float_flatbuffer: bytes,
    tiny_contract: Callable[..., Contract],
    evil_images: Path,
) -> Path:
    """A folder of real answers: two variants validated, measured, and predicted for three boards; one explained, one trained."""
    folder = tmp_path_factory.mktemp("results")
    output = replace(tiny_contract().outputs[0], labels=EVIL)
    files = {}
    for name, flatbuffer in (("float32", tiny_float_flatbuffer), ("int8", tiny_int8_flatbuffer)):
        made = Quantization() if name == "float32" else tiny_contract().quantization
        files[name] = folder / f"tiny.{name}.tflite"
        files[name].write_bytes(container.pack(flatbuffer, tiny_contract(outputs=(output,), quantization=made)))

    def keep(name: str, report: Any) -> None:
        (folder / f"{name}.json").write_text(json.dumps(report), encoding="utf-8")

    for name, file in files.items():
        found = edge.validate(file, evil_images, reference=files["float32"], max_drop=0.5, diagnose="never")
        keep(f"validate.{name}", found.to_dict())
        keep(f"benchmark.{name}", edge.benchmark(file, threads=1, min_runs=200, min_seconds=0.0).to_dict())
        for board in BOARDS:
            keep(f"check.{board}.{name}", check_report.to_dict(edge.check(file, board)))
    source = container.read(files["int8"])
    ops = [
        {"position": op.index, "op": op.name, "tensor": source.graph.tensors[op.outputs[0]].name, "sqnr_db": 12.0 + op.index}
        for op in source.graph.ops
    ]
    step = {"images": 40, "agreement": 0.9, "error": 0.1, "top1": 0.3, "drop": 0.05, "ci95": [-0.02, 0.12], "lost": 3, "won": 1}
    ladder = [{"name": "float32", "step": None, "total": step}, {"name": "int8 weights only", "step": step, "total": step}]
    explained = {"images": 40, "ladder": ladder, "worst_step": "int8 weights only", "ops": ops, "blocks": [], "refined": []}
    keep("explain", {"file": str(files["int8"]), "model_sha256": source.model_sha256, **explained})
    epochs = [
        {"epoch": i, "loss": None if i == 0 else 1.0 / i, "float": 0.9, "fake_quantized": 0.8 + 0.01 * i, "int8": 0.8}
        for i in range(4)
    ]
    trained = {"trained": "tiny.int8-qat.tflite", "ptq": "tiny.int8.tflite", "recommended": "tiny.int8-qat.tflite"}
    comparison = {"ptq": {"candidate": {"top1": 0.79}}}
    keep("qat", {**trained, "reason": "training paid", "best_epoch": 3, "epochs": epochs, "comparison": comparison})
    return folder


@pytest.fixture(scope="session")
def facts(results: Path) -> Facts:
    return gathering.gather(*sources.collect([str(results)], RunStore(results / "none.sqlite")))


@pytest.fixture(scope="session")
def written(facts: Facts) -> str:
    return page.render(facts)


def changed(facts: Facts, **changes: Any) -> Facts:
    """The same facts with the validation of int8 changed."""
    entries = tuple(replace(e, **changes) if e.variant != e.reference else e for e in facts.validations)
    return replace(facts, validations=entries)


PI = {"profile": "pi-4b", "model": "a virtual board", "virtual": True}


def gathered(folder: Path, **reports: Any) -> Facts:
    """The facts of these answers, written as files."""
    for name, report in reports.items():
        (folder / f"{name}.json").write_text(json.dumps(report), encoding="utf-8")
    return gathering.gather(*sources.collect([str(folder)], RunStore(folder / "none.sqlite")))


@pytest.fixture
def int8(results: Path) -> dict[str, Any]:
    """The validation of int8, and the ways in which an emulated board answers the same."""
    report: dict[str, Any] = json.loads((results / "validate.int8.json").read_text())
    return report


@pytest.fixture
def timed(results: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((results / "benchmark.int8.json").read_text())
    return {**report, "quotable": True}
