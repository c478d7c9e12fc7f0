"""The whole way: a smaller network within a budget, its files and their lineage, what is refused, and what a kill leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import quantize
from edge import report_schema
from edge.artefact import container
from edge.errors import EdgeError, UsageError
from edge.files import sha256_file
from edge.history import record as history
from quantize.errors import TrainingError
from quantize.shrinking import record
from quantize.shrinking.config import ShrinkConfig
from tests.conftest import REPOSITORY, Once
from tests.quantize.shrinking.residual_digits import digit_tensors

pytestmark = pytest.mark.converts

STEPS: dict[str, Any] = {"minutes": 20.0, "learning_rate": 1e-3, "images": 32, "representative": 40}
LABELS = [str(digit) for digit in range(10)]


@pytest.fixture(scope="session")
def shrunk(residual_file: Path, digits_folder: Path, once: Once) -> Path:
    """A folder with what a run with 60 steps of training made."""

    def make(folder: Path) -> None:
        source = quantize.load(residual_file, preprocess="inception", labels=LABELS)
        config = ShrinkConfig(speedup=1.4, max_drop=0.2, steps=60, **STEPS)
        quantize.shrink(source, digits_folder / "train", digits_folder / "test", config, out=folder)

    return once("shrunk-digits", make)


@pytest.fixture
def report(shrunk: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shrunk / "residual.shrunk" / "record.json").read_text())
    return found


def test_the_network_is_plain_keras_and_smaller(shrunk: Path, residual_file: Path, digits_folder: Path) -> None:
    """In a process that knows nothing of edgekit."""
    code = (
        "import sys, keras; model = keras.models.load_model(sys.argv[1]); print(model.count_params(), model.output_names)\n"
        "assert not any(name.split('.')[0] in ('quantize', 'edge') for name in sys.modules)"
    )
    told = [
        subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, cwd="/").stdout.split(
            maxsplit=1
        )
        for path in (residual_file, shrunk / "residual.shrunk.keras")
    ]
    assert int(told[1][0]) < 0.85 * int(told[0][0])
    assert told[0][1] == told[1][1]


def test_the_record_says_what_was_tried_and_what_came_of_it(shrunk: Path, report: dict[str, Any]) -> None:
    assert report["shrunk"]["macs"] < 0.8 * report["original"]["macs"]
    chosen = next(each for each in report["candidates"] if each["name"] == report["chosen"])
    assert chosen["speedup"] >= 1.4 * 0.99
    assert set(report["front"]) <= {each["name"] for each in report["candidates"]}
    assert [removal["block"] for removal in report["ranking"]][:1] != []
    # Whatever training does, what it began with is among what it chooses from.
    first, best = report["training"]["looks"][0], report["training"]["best"]
    assert best["agreement"] - best["error"] >= first["agreement"] - first["error"]
    validation = report["validation"]
    assert validation["images"] == 797
    assert validation["drop"] == pytest.approx((validation["lost"] - validation["won"]) / 797)
    assert validation["interval"][0] <= validation["drop"] <= validation["interval"][1]
    assert report["verdict"] == validation["verdict"]
    assert (shrunk / "residual.shrunk" / "record.svg").read_text().count("<circle") == len(record.points(report))
    text = record.to_text(report)
    assert f"times faster in int8 ({report['original']['ms']:.3g}" in text
    assert text.endswith("deploy " + report["int8"])


def test_it_is_an_answer_that_the_history_knows(report: dict[str, Any]) -> None:
    jsonschema.validate(report, report_schema.ANSWERS["shrink"])
    assert history.command_of(report) == "shrink"
    assert report["chosen"] in history.summary_of(report)


def test_the_int8_file_says_what_was_taken_out_of_which_network(
    shrunk: Path, report: dict[str, Any], residual_file: Path
) -> None:
    contract = container.read(shrunk / "residual.shrunk.int8.tflite").contract
    assert contract is not None
    (lineage,) = contract.lineage
    assert lineage.sha256 == sha256_file(residual_file)
    assert contract.source.sha256 == sha256_file(shrunk / "residual.shrunk.keras")
    cut = report["shrunk"]["cut"]
    assert sorted(lineage.blocks) == cut["blocks"]
    assert {name: left for name, left, _ in lineage.channels} == {name: len(kept) for name, kept in cut["kept"].items()}
    assert (lineage.height, lineage.width) == (32, 32)
    assert lineage.training_s > 0
    assert contract.outputs[0].labels == tuple(LABELS)


def test_the_verdict_is_that_of_the_files(shrunk: Path, report: dict[str, Any], digits_folder: Path) -> None:
    """Counted again with the public runtime."""
    import edge

    found = edge.validate(shrunk / "residual.shrunk.int8.tflite", digits_folder / "test").to_dict()
    assert found["candidate"]["top1"] == pytest.approx(report["validation"]["shrunk"])


@pytest.mark.parametrize("command", ["quantize", "tune", "qat", "shrink"])
def test_every_command_takes_the_result_as_any_network(shrunk: Path, command: str, few_digits: Path, tmp_path: Path) -> None:
    from edge.cli import main

    given = [command, str(shrunk / "residual.shrunk.keras"), "--images", str(few_digits / "train"), "--preprocess", "inception"]
    own = {
        "quantize": ["--out", str(tmp_path), "--variants", "int8"],
        "tune": ["--validation", str(few_digits / "test"), "--max-drop", "0.5", "--out", str(tmp_path)],
        "qat": ["--validation", str(few_digits / "test"), "--epochs", "1", "--out", str(tmp_path)],
        "shrink": [
            "--validation",
            str(few_digits / "test"),
            "--max-drop",
            "0.9",
            "--speedup",
            "1.1",
            "--no-training",
            "--input-sizes",
            "24",
            "--out",
            str(tmp_path),
        ],
    }
    assert main([*given, *own[command]]) in (0, 1)


def test_explain_says_where_the_int8_file_loses_against_its_float_network(shrunk: Path, few_digits: Path, tmp_path: Path) -> None:
    from edge.cli import main

    source = quantize.load(shrunk / "residual.shrunk.keras", preprocess="inception", labels=LABELS)
    reference = quantize.post_training(source, None, "float32").save(tmp_path / "float32.tflite")
    file = str(shrunk / "residual.shrunk.int8.tflite")
    given = ["explain", file, "--reference", str(reference), "--images", str(few_digits / "test"), "--no-blocks"]
    assert main([*given, "--json", str(tmp_path / "explained.json")]) == 0
    assert json.loads((tmp_path / "explained.json").read_text())["ladder"]


def test_a_killed_run_goes_on(residual_file: Path, digits_folder: Path, tmp_path: Path) -> None:
    """Killed when the first state of the training is on the disk: nothing of the search is done again. (`test_distil` breaks off later.)"""
    script = (
        "import os, signal, sys\n"
        "import quantize\n"
        "from quantize.qat import state\n"
        "from quantize.shrinking.config import ShrinkConfig\n"
        "save = state.save\n"
        "def saved(*given):\n"
        "    save(*given)\n"
        "    if 'kill' in sys.argv:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "state.save = saved\n"
        f"source = quantize.load({str(residual_file)!r}, preprocess='inception', labels=[str(d) for d in range(10)])\n"
        "config = ShrinkConfig(speedup=1.3, max_drop=0.2, minutes=10.0, steps=15, learning_rate=1e-3, images=16, representative=20)\n"
        f"quantize.shrink(source, {str(digits_folder / 'train')!r}, {str(digits_folder / 'test')!r}, config,\n"
        f"                out={str(tmp_path)!r}, resume='resume' in sys.argv)\n"
    )
    work = tmp_path / "residual.shrunk"

    def run(word: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", script, word], cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert run("kill").returncode == -9
    before = json.loads((work / "search.json").read_text())
    assert not (work / "record.json").exists()
    resumed = run("resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "rank blocks" not in resumed.stderr
    report = json.loads((work / "record.json").read_text())
    assert report["candidates"] == before["candidates"]
    steps = [look["step"] for look in report["training"]["looks"]]
    assert (steps[0], steps[-1]) == (0, 15)
    assert (tmp_path / "residual.shrunk.int8.tflite").exists()


def _refused(source: Any, digits: Path, out: Path, **options: Any) -> str:
    with pytest.raises(EdgeError) as caught:
        quantize.shrink(source, digits / "train", digits / "test", ShrinkConfig(**{**STEPS, "images": 8, **options}), out=out)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_budget_out_of_reach_is_refused_with_the_nearest_that_is_not(residual: Any, few_digits: Path, tmp_path: Path) -> None:
    said = _refused(residual, few_digits, tmp_path, speedup=19.0)
    assert "19 times faster is out of reach: without all 5 blocks" in said
    assert "add smaller --input-sizes" in said
    assert not list(tmp_path.glob("*.keras"))


def test_a_network_without_a_removable_part_is_refused_before_any_work(few_digits: Path, tmp_path: Path) -> None:
    import keras

    plain = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")])
    source = quantize.load(plain, name="plain", preprocess="inception", labels=LABELS)
    assert "nothing in it can be removed" in _refused(source, few_digits, tmp_path)
    assert not list(tmp_path.iterdir())


def test_photos_in_both_sets_and_too_few_of_them_are_refused(residual: Any, few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="80 training images are validation images too"):
        quantize.shrink(residual, few_digits / "train", few_digits / "train", out=tmp_path)
    with pytest.raises(EdgeError, match="8 images, expected at least 20"):
        quantize.shrink(residual, few_digits / "train" / "0", few_digits / "test", out=tmp_path)


def test_nothing_to_resume_is_said(residual: Any, few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing to resume here"):
        quantize.shrink(residual, few_digits / "train", few_digits / "test", out=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_drop": 0.0}, "max_drop is 0.0, expected a number above 0"),
        ({"speedup": 1.0}, "speedup is 1.0, expected above 1"),
        ({"speedup": 2.0, "max_ms": 3.0}, "speedup and max_ms are two budgets of one thing"),
        ({"input_sizes": (4,)}, "input_sizes is"),
        ({"minutes": -1.0}, "minutes is"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        ShrinkConfig(**options)


def test_a_network_of_numbers_loses_error_in_their_own_unit(digits_folder: Path, tmp_path: Path) -> None:
    """A nested backbone with a head of its own that says the digit as a number, and a second output."""
    import keras

    from tests.quantize.shrinking.residual_digits import residual_network

    keras.utils.set_random_seed(1)
    inner = residual_network(3, head=lambda x: x)
    image = keras.Input((32, 32, 3))
    pooled = inner(image)
    number = keras.layers.Dense(1, name="digit")(pooled)
    even = keras.layers.Dense(1, activation="sigmoid", name="even")(pooled)
    network = keras.Model(image, [number, even], name="numbers")
    tensors, labels = digit_tensors(digits_folder / "train")
    network.compile(optimizer=keras.optimizers.Adam(3e-3), loss=["mse", "binary_crossentropy"])
    network.fit(tensors, [labels.astype(np.float32), (labels % 2 == 0).astype(np.float32)], batch_size=32, epochs=2, verbose=0)
    rows = ["path,digit"]
    for path in sorted((digits_folder / "test").glob("*/*.png"))[::4]:
        rows.append(f"{path},{path.parent.name}")
    (tmp_path / "test.csv").write_text("\n".join(rows) + "\n")
    source = quantize.load(network, preprocess="inception", outputs={"digit": "regression", "even": "multilabel"})
    config = ShrinkConfig(speedup=1.15, max_drop=3.0, steps=20, **STEPS)
    result = quantize.shrink(source, digits_folder / "train", tmp_path / "test.csv", config, out=tmp_path / "out")
    validation = result.report["validation"]
    assert (validation["output"], validation["figure"], validation["images"]) == ("digit", "mae", 200)
    assert validation["drop"] == pytest.approx(validation["shrunk"] - validation["original"])
    assert [
        output.name
        for output in quantize.load(result.network, preprocess="inception", outputs={"digit": "regression"}).contract.outputs
    ] == [
        "digit",
        "even",
    ]
    assert "mean absolute error" in record.to_text(result.report)
