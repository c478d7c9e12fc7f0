"""Two ways to int8: TensorFlow's quantizer, and litert-quantizer with the same ranges."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge
import quantize
from edge.artefact import container, graph
from edge.cli import main
from edge.errors import EdgeError, MissingExtraError
from edge.runtime import golden
from quantize.calibrate import activations
from quantize.errors import ConversionError
from quantize.ptq import PtqConfig
from quantize.tflite import calibrated, conversion, edit, quantizers
from quantize.tflite.int8_file import Int8File

needs_quantizer = pytest.mark.skipif(
    find_spec("litert_quantizer") is None, reason="the extra [litert-quantizer] is not installed"
)


def same_numbers(ours: bytes, other: bytes) -> None:
    """Assert that two int8 files have the same ops, scales, zero points and biases, and weights but for ties."""
    files = Int8File(ours), Int8File(other)
    assert [op.name for op in files[0].graph.ops] == [op.name for op in files[1].graph.ops]
    assert files[0].by_name.keys() == files[1].by_name.keys() and len(files[0].weighted) == len(files[1].weighted)
    for name, index in files[0].by_name.items():
        there = files[1].by_name[name]
        assert np.array_equal(files[0].scale(index), files[1].scale(there)) and files[0].zero_point(index) == files[1].zero_point(
            there
        )
    for op, twin in zip(files[0].weighted, files[1].weighted, strict=True):
        steps = np.abs(files[0].weights(op).astype(int) - files[1].weights(twin))
        assert steps.max() <= 1 and np.count_nonzero(steps) <= 1e-5 * steps.size  # what lies halfway between two steps
        assert np.array_equal(files[0].scale(op.inputs[1]), files[1].scale(twin.inputs[1]))
        first, second = files[0].bias(op), files[1].bias(twin)
        assert (first is None) is (second is None)
        assert first is None or second is None or np.array_equal(first, second)


@pytest.fixture(scope="module")
def ready(small_artefacts: dict[str, Path]) -> bytes:
    """The small network in float, with ranges that no calibrator gave."""
    flatbuffer = container.read(small_artefacts["float32"]).flatbuffer()
    generator = np.random.default_rng(0)
    model = graph.read(flatbuffer)
    images = [generator.uniform(-1, 1, model.tensors[model.main.inputs[0]].shape).astype(np.float32) for _ in range(8)]
    found = calibrated.read_ranges(conversion.calibrate(flatbuffer, images))
    return calibrated.write_ranges(flatbuffer, {name: (0.9 * low, 0.8 * high) for name, (low, high) in found.items()})


@needs_quantizer
@pytest.mark.parametrize("per_channel", [True, False])
def test_both_make_the_same_numbers_of_the_same_ranges(ready: bytes, per_channel: bool) -> None:
    ours = conversion.quantize_int8(ready, per_channel=per_channel)
    other = quantizers.quantize_int8(ready, name=quantizers.LITERT, per_channel=per_channel)
    assert ours != other
    same_numbers(ours, other)


@needs_quantizer
def test_a_network_of_more_than_256_kib_can_be_edited(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(32, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(50)]
    source = quantize.load(
        keras.Sequential([keras.Input((24, 24, 3)), *layers]), name="large", preprocess="inception", outputs="logits"
    )
    conversion.export_saved_model(source, tmp_path)
    generator = np.random.default_rng(0)
    images = [generator.uniform(-1, 1, (1, 24, 24, 3)).astype(np.float32) for _ in range(4)]
    ready = conversion.calibrate(conversion.convert_float(tmp_path, "float32"), images)
    other = quantizers.quantize_int8(ready, name=quantizers.LITERT)
    assert len(other) > 2 * 256 * 1024
    same_numbers(conversion.quantize_int8(ready), other)
    assert len(list(activations.run(Int8File(other).pack(), images))) == len(images)


@needs_quantizer
@pytest.mark.converts
def test_the_command_makes_the_same_artefact(small_network: Any, digits_folder: Path, tmp_path: Path) -> None:
    small_network.save(tmp_path / "small.keras")
    files = {}
    for name in quantizers.NAMES:
        out = tmp_path / name
        flags = ["--images", str(digits_folder / "train"), "--count", "60", "--preprocess", "inception", "--variants", "int8"]
        report = out.with_suffix(".json")
        command = [
            "quantize",
            str(tmp_path / "small.keras"),
            *flags,
            "--quantizer",
            name,
            "--out",
            str(out),
            "--json",
            str(report),
        ]
        assert main([*command, "--store", "none"]) == 0
        files[name] = out / "small.int8.tflite"
        said = any("quantized by litert-quantizer 0.11" in note for note in json.loads(report.read_text())["notes"])
        assert said is (name == quantizers.LITERT)
    ours, other = (container.read(files[name]) for name in quantizers.NAMES)
    same_numbers(ours.flatbuffer(), other.flatbuffer())
    assert other.contract is not None and ours.contract is not None
    assert other.contract.quantization == ours.contract.quantization
    assert len(other.contract.golden) == 2 and golden.replay(edge.load(files[quantizers.LITERT])).passed
    found = edge.validate(
        files[quantizers.LITERT], digits_folder / "test", reference=files[quantizers.TENSORFLOW], max_drop=0.01, limit=40
    )
    assert found.to_dict()["agreement"] == 1.0 and found.to_dict()["probability_shift"] == 0.0


@needs_quantizer
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"io": "uint8"}, "int8 inputs and outputs, not uint8; leave --io"),
        ({"keep_float": ("lstm",)}, "leave --keep-float"),
        ({"quantizer": "mine"}, "expected one of tensorflow, litert-quantizer"),
    ],
)
def test_what_it_cannot_do_is_said_before_anything_is_made(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConversionError, match=words):
        PtqConfig(**{"quantizer": quantizers.LITERT, **options})


@needs_quantizer
def test_a_network_that_it_refuses_is_one_line(ready: bytes) -> None:
    model = edit.classes().ModelT.InitFromPackedBuf(ready, 0)
    for tensor in model.subgraphs[0].tensors:
        tensor.quantization = None  # no ranges at all
    with pytest.raises(ConversionError, match="litert-quantizer refused the network: .*leave --quantizer out") as caught:
        quantizers.quantize_int8(edit.pack(edit.classes(), model), name=quantizers.LITERT)
    assert "\n" not in str(caught.value)


def test_without_the_extra_one_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "litert_quantizer", None)  # what an import finds where it is not installed
    with pytest.raises(MissingExtraError, match=r"pip install 'edgekit\[litert-quantizer\]'"):
        PtqConfig(quantizer=quantizers.LITERT)
    network = tmp_path / "any.keras"
    assert (
        main(["quantize", str(network), "--quantizer", "litert-quantizer", "--out", str(tmp_path / "out")]) == EdgeError.exit_code
    )
    lines = capsys.readouterr().err.splitlines()
    assert ["litert-quantizer is not installed" in line for line in lines].count(True) == 1
    assert all(line.startswith("edgekit: error: ") for line in lines)  # so do the missing model and images
    assert not (tmp_path / "out").exists()
    PtqConfig()


def test_tensorflows_quantizer_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litert_quantizer", None)
    assert quantizers.notes(PtqConfig().quantizer) == ()
