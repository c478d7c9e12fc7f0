from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edge
from edge.artefact import container
from edge.artefact.contract import Contract, GoldenOutputs, GoldenSample
from edge.errors import ContractError
from edge.runtime import golden

MakeContract = Callable[..., Contract]
PackArtefact = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        ("gradient", "4ef27a6c1397639da46c8d77310a5c0f0e0bca63a8985fbb9aaad6e5cdeb6c2c"),
        ("rings", "a20f690ae29373617edabbf24bf57f6d5cec62d7aeecfe11b2ed7adfbccf1119"),
        ("noise-1", "bd99f6cd517b60ea73b31782c5d01f8d0e0db05f6443638fa511a7d266575a5e"),
    ],
)
def test_patterns_are_the_same_for_ever(name: str, sha256: str) -> None:
    """Artefacts in the field carry the hash of what these gave when they were made."""
    pixels = golden.pattern(name, 299, 200)
    assert pixels.shape == (299, 200, 3)
    assert pixels.dtype == np.uint8
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == sha256


def test_noise_is_the_generator_stepped_one_by_one() -> None:
    state, expected = 7, []
    for _ in range(30):
        state = (state * 1664525 + 1013904223) % 2**32
        expected.append(state >> 24)
    assert golden.pattern("noise-7", 2, 5).ravel().tolist() == expected


def test_patterns_use_the_whole_range() -> None:
    for name in golden.PATTERNS:
        values = np.unique(golden.pattern(name, 96, 96))
        assert values.size > 200
        assert (values[0], values[-1]) == (0, 255)


@pytest.mark.parametrize("name", ["photo", "noise-", "noise-x", "noise--1"])
def test_unknown_patterns_are_refused(name: str) -> None:
    with pytest.raises(ContractError, match="expected gradient, rings or noise-SEED"):
        golden.pattern(name, 4, 4)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.float32])
def test_recorded_values_come_back(dtype: type) -> None:
    values: NDArray[Any] = np.arange(-6, 6).astype(dtype).reshape(3, 4)
    found = golden.decode(golden.encode(values), np.dtype(dtype), (3, 4), "test")
    np.testing.assert_array_equal(found, values)
    assert found.dtype == dtype


def test_values_of_another_size_are_refused() -> None:
    text = golden.encode(np.zeros(1_000_000, np.int8))
    with pytest.raises(ContractError, match="expected 4 for int8"):
        golden.decode(text, np.dtype(np.int8), (4,), "test")
    for broken in ("!", "AAAA", text[:8]):
        with pytest.raises(ContractError, match="golden sample"):
            golden.decode(broken, np.dtype(np.int8), (4,), "test")


@pytest.mark.parametrize("kernels", ["optimized", "reference"])
def test_replaying_here_is_exact_for_integers(kernels: str, tiny_int8_artefact: Path) -> None:
    result = golden.replay(edge.load(tiny_int8_artefact, kernels=kernels))
    assert result.exact
    assert result.passed
    assert result.promise == "the same bits"
    assert [item.steps for item in result.results] == [0, 0, 0]
    assert f"{kernels} kernels" in result.compared_with


def test_replaying_a_float_model_is_within_its_tolerance(tiny_float_artefact: Path) -> None:
    result = golden.replay(edge.load(tiny_float_artefact))
    assert result.passed
    assert result.promise == "within 0.001 of the largest value"
    assert all(item.steps is None for item in result.results)


def _altered(artefact: Path, pack: PackArtefact, change: Callable[[GoldenOutputs], GoldenOutputs]) -> Path:
    """The artefact with all its recordings changed."""
    source = container.read(artefact)
    assert source.contract is not None
    samples = tuple(
        GoldenSample(pattern=s.pattern, input_sha256=s.input_sha256, outputs=tuple(change(o) for o in s.outputs))
        for s in source.contract.golden
    )
    return pack(source.flatbuffer(), source.contract.replace(golden=samples))


def _add(recorded: GoldenOutputs, amount: float, dtype: type) -> dict[str, str]:
    values = golden.decode(recorded.values["probabilities"], np.dtype(dtype), (4,), "test")
    return {"probabilities": golden.encode((values + np.array(amount).astype(dtype)).astype(dtype))}


def _rerecorded(o: GoldenOutputs, **fields: object) -> GoldenOutputs:
    import dataclasses

    return dataclasses.replace(o, **fields)  # type: ignore[arg-type]


def test_one_step_off_is_reported_and_fails_where_the_bits_are_promised(tiny_int8_artefact: Path, pack: PackArtefact) -> None:
    path = _altered(tiny_int8_artefact, pack, lambda o: _rerecorded(o, values=_add(o, 1, np.int8)))
    result = golden.replay(edge.load(path))
    assert not result.passed
    assert [item.steps for item in result.results] == [1, 1, 1]
    assert result.results[0].difference == pytest.approx(1 / 256)


@pytest.mark.parametrize(("steps", "passes"), [(1, True), (2, False)])
def test_another_kind_of_machine_may_be_one_step_off_and_no_more(
    steps: int, passes: bool, tiny_int8_artefact: Path, pack: PackArtefact
) -> None:
    path = _altered(tiny_int8_artefact, pack, lambda o: _rerecorded(o, machine="riscv64", values=_add(o, steps, np.int8)))
    result = golden.replay(edge.load(path))
    assert result.promise == "within one quantization step" and result.passed is passes and not result.exact
    assert golden.replay(edge.load(path, kernels="reference")).passed is False, "those compute the same everywhere"


def test_another_version_may_be_some_steps_off(tiny_int8_artefact: Path, pack: PackArtefact) -> None:
    path = _altered(tiny_int8_artefact, pack, lambda o: _rerecorded(o, version="0.0.1", values=_add(o, 1, np.int8)))
    result = golden.replay(edge.load(path))
    assert result.passed
    assert not result.exact
    assert "0.0.1" in result.compared_with
    assert golden.replay(edge.load(path, kernels="reference")).passed is False


def test_a_float_model_that_is_far_off_fails(tiny_float_artefact: Path, pack: PackArtefact) -> None:
    path = _altered(tiny_float_artefact, pack, lambda o: _rerecorded(o, values=_add(o, 0.01, np.float32)))
    assert not golden.replay(edge.load(path)).passed


def test_a_model_without_samples_says_so(tiny_int8_flatbuffer: bytes, tiny_contract: MakeContract, pack: PackArtefact) -> None:
    with pytest.raises(ContractError, match="no golden samples"):
        golden.replay(edge.load(pack(tiny_int8_flatbuffer, tiny_contract())))


def test_samples_without_answers_say_so(tiny_int8_artefact: Path, pack: PackArtefact) -> None:
    source = container.read(tiny_int8_artefact)
    assert source.contract is not None
    empty = GoldenSample(pattern="rings", input_sha256=source.contract.golden[0].input_sha256, outputs=())
    with pytest.raises(ContractError, match="no recorded answers"):
        golden.replay(edge.load(pack(source.flatbuffer(), source.contract.replace(golden=(empty,)))))


def test_an_input_made_differently_is_noticed(tiny_int8_artefact: Path, pack: PackArtefact) -> None:
    source = container.read(tiny_int8_artefact)
    assert source.contract is not None
    sample = source.contract.golden[0]
    other = GoldenSample(pattern="rings", input_sha256=sample.input_sha256, outputs=sample.outputs)
    path = pack(source.flatbuffer(), source.contract.replace(golden=(other,)))
    with pytest.raises(ContractError, match="another input tensor"):
        golden.replay(edge.load(path))


def test_recordings_name_runtime_and_machine(tiny_int8_artefact: Path) -> None:
    contract = container.read(tiny_int8_artefact).contract
    assert contract is not None
    assert [sample.pattern for sample in contract.golden] == ["gradient", "rings", "noise-1"]
    for sample in contract.golden:
        assert {o.kernels for o in sample.outputs} == {"optimized", "reference"}
        assert all(o.machine and o.version and o.runtime for o in sample.outputs)


def test_a_seed_of_very_many_digits_is_unknown() -> None:
    for name in ("noise-" + "9" * 5000, "noise-", "noise-1²", "noise--1"):
        with pytest.raises(ContractError, match="is unknown"):
            golden.pattern(name, 4, 4)
