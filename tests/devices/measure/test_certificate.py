"""What a certificate says, and when it says nothing."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from devices.errors import DeviceError
from devices.measure import certificate, remote


def test_bit_equality_is_only_claimed_for_all_bits() -> None:
    same = {"agreement": 1.0, "probability_shift": 0.0, "images": 5}
    found = certificate.compare(fingerprint(), fingerprint(), where="pi")
    assert remote.bit_equal(same, found) is True
    for change in ({"agreement": 0.8}, {"probability_shift": 1e-9}, {"probability_shift": None}):
        assert remote.bit_equal({**same, **change}, found) is False
    assert remote.bit_equal(same, dataclasses.replace(found, equal=1)) is False


def fingerprint(
    *values: str, ops: tuple[str, ...] = ("a", "b"), arithmetic: str = "integer", dtype: str = "int8"
) -> dict[str, Any]:
    """A made-up fingerprint of two images; ``values`` are the encoded values of the second."""
    import numpy as np

    from edge.runtime.golden import encode

    one = {"dtype": dtype, "sha256": "1", "values": encode(np.array([1, 2, 3], dtype))}
    two = {"dtype": dtype, "sha256": values[0] if values else "2", "values": values[0] if values else one["values"]}
    return {
        "model_sha256": "m",
        "arithmetic": arithmetic,
        "machine": "aarch64",
        "runtime": {"package": "ai-edge-litert", "version": "2.3.0", "kernels": "optimized"},
        "images": [
            {"id": "a.png", "sha256": "x", "outputs": {"p": one}},
            {"id": "b.png", "sha256": "y", "outputs": {"p": two}},
        ],
        "ops": [{"index": i, "op": "ADD", "tensor": f"t{i}", "sha256": digest} for i, digest in enumerate(ops)],
    }


def test_what_a_certificate_says() -> None:
    import numpy as np

    from edge.runtime.golden import encode

    mine = fingerprint()
    equal = certificate.compare(mine, fingerprint(), where="pi")
    assert equal.carries_over and "holds there" in equal.to_text()
    other = certificate.compare(mine, fingerprint(encode(np.array([1, -3, 4], np.int8)), ops=("a", "c")), where="pi")
    assert (other.equal, other.values, other.values_different, other.steps) == (1, 6, 2, 5)
    assert other.first_op == "ADD 1 (t1)" and not other.bit_equal
    assert "1 of 2 images differ, 2 of 6 values by at most 5 quantization steps" in other.to_text()
    # Equal outputs alone prove nothing: an op in between differs, floats, or nothing could be looked at in between.
    for there in (fingerprint(ops=("a", "c")), fingerprint(ops=())):
        found = certificate.compare(mine, there, where="pi")
        assert found.bit_equal and not found.carries_over and "no proof" in found.to_text()
    floats = certificate.compare(fingerprint(arithmetic="float"), fingerprint(arithmetic="float"), where="pi")
    assert not floats.carries_over and "floats" in floats.to_text()
    assert json.loads(json.dumps(other.to_dict()))["carries_over"] is False


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "another"},
        {"images": []},
        {"images": "text"},
        {"images": [{"id": "a.png", "sha256": "x"}]},
        {"images": [{"id": "a.png", "sha256": "z", "outputs": {}}, {"id": "b.png", "sha256": "y", "outputs": {}}]},
        {"ops": None},
        {"runtime": None},
    ],
)
def test_a_fingerprint_that_cannot_be_compared(change: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="pi: its fingerprint cannot be compared"):
        certificate.compare(fingerprint(), {**fingerprint(), **change}, where="pi")
    for values in ("no base64!", "AAAA", ""):
        with pytest.raises(DeviceError, match="cannot be compared"):
            certificate.compare(fingerprint(), fingerprint(values), where="pi")
