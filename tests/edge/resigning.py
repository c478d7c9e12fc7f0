"""Altered artefacts with hashes that fit: what somebody writes who means harm, not what a bad cable leaves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from edge.artefact import archive
from edge.artefact.container import CONTRACT_FILE


def resigned(data: bytes, changes: Mapping[str, Any] | None = None) -> bytes:
    """Return the artefact with ``changes`` of its contract's keys, and its SHA-256 (in the contract, at the end) computed anew."""
    packed = archive.read(data)
    assert packed is not None
    return signed(data[: packed.start], packed.members, changes)


def signed(model: bytes, members: Mapping[str, bytes], changes: Mapping[str, Any] | None = None) -> bytes:
    """Return an artefact of ``model`` and ``members`` whose hashes fit."""
    said = {**json.loads(members[CONTRACT_FILE]), **(changes or {}), "model_sha256": hashlib.sha256(model).hexdigest()}
    return sealed(model, {**members, CONTRACT_FILE: json.dumps(said).encode()})


def sealed(model: bytes, members: Mapping[str, bytes]) -> bytes:
    """Return ``model`` and ``members``, whatever they say, with the SHA-256 of both at the end."""
    covered = model + archive.write(len(model), members)
    return covered + archive.COMMENT + hashlib.sha256(covered).hexdigest().encode()
