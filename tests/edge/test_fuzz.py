"""Thousands of damaged files, ours (with old hashes, and with new ones that fit) and foreign: each is answered with an error or a
model, and nothing crashes or hangs.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge
from edge import archive, container, graph, interpreter, trust
from edge.cli import main
from edge.errors import ArtefactError, ContractError, EdgeError
from edge.flatbuffer import Flatbuffer
from edge.probe import Prober
from tests.edge.resigning import sealed, signed

OURS = 1200
RESIGNED = 2000
RESIGNED_CONTRACTS = 600
FOREIGN = 1200
TIMEOUT_S = 10.0
INCEPTION = {"mean": (127.5,) * 3, "scale": (127.5,) * 3}

Regions = dict[str, list[tuple[int, int]]]


def _regions(data: bytes, model_bytes: int) -> Regions:
    """Where the header, the tables, the weights and the packed files lie."""
    weights = [span for span in (b.span(0) for b in Flatbuffer(data, model_bytes).root().tables(4)) if span[1] >= 32]
    tables, at = [], 64
    for start, size in sorted(weights):
        if start > at:
            tables.append((at, start))
        at = start + size
    if model_bytes > at:
        tables.append((at, model_bytes))
    found = {"header": [(0, 64)], "tables": tables, "weights": [(s, s + n) for s, n in weights]}
    return found if model_bytes == len(data) else {**found, "zip": [(model_bytes, len(data))]}


def _position(random_: random.Random, spans: list[tuple[int, int]]) -> int:
    chosen = random_.choices(spans, [end - start for start, end in spans])[0]
    return random_.randrange(*chosen)


def _flip_bit(data: bytearray, at: int, random_: random.Random) -> None:
    data[at] ^= 1 << random_.randrange(8)


def _set_byte(data: bytearray, at: int, random_: random.Random) -> None:
    data[at] = random_.choice([0, 1, 0x7F, 0x80, 0xFF, data[at] ^ 0xFF])


def _set_word(data: bytearray, at: int, random_: random.Random) -> None:
    at -= at % 4
    value = random_.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data), random_.getrandbits(32)])
    data[at : at + 4] = value.to_bytes(4, "little")[: len(data) - at]


def _scramble(data: bytearray, at: int, random_: random.Random) -> None:
    count = min(random_.randrange(2, 64), len(data) - at)
    data[at : at + count] = random_.randbytes(count)


def _drop(data: bytearray, at: int, random_: random.Random) -> None:
    del data[at : at + random_.randrange(1, 16)]


def _insert(data: bytearray, at: int, random_: random.Random) -> None:
    data[at:at] = random_.randbytes(random_.randrange(1, 16))


def _copy_over(data: bytearray, at: int, random_: random.Random) -> None:
    count = min(random_.randrange(4, 128), len(data) - at)
    source = random_.randrange(len(data) - count)
    data[at : at + count] = data[source : source + count]


CHANGES: list[Callable[[bytearray, int, random.Random], None]] = [
    *(_flip_bit, _flip_bit, _set_byte, _set_word, _set_word, _scramble, _drop, _insert, _copy_over)
]


def mutations(data: bytes, model_bytes: int, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` damaged copies, no two of them equal, and what was done to each."""
    random_ = random.Random(seed)
    regions = _regions(data, model_bytes)
    seen = {data}
    edges = [0, 1, 4, 8, 63, model_bytes - 1, model_bytes, model_bytes + 1, len(data) - 80, len(data) - 1]
    made = 0
    while made < count:
        if edges:
            keep = edges.pop()
            what, changed = f"cut to {keep}", data[:keep]
        elif random_.random() < 0.15:
            keep = random_.randrange(len(data))
            what, changed = f"cut to {keep}", data[:keep]
        elif random_.random() < 0.03:
            size = random_.randrange(2000)
            what, changed = f"{size} random bytes", b"\x1c\0\0\0TFL3" + random_.randbytes(size)
        elif random_.random() < 0.03:
            what, changed = "bytes behind the end", data + random_.randbytes(random_.randrange(1, 100))
        else:
            region = random_.choice(list(regions))
            damaged, changes = bytearray(data), []
            for _ in range(random_.choice([1, 1, 1, 2, 5])):
                at = min(_position(random_, regions[region]), len(damaged) - 1)
                change = random_.choice(CHANGES)
                change(damaged, at, random_)
                changes.append(f"{change.__name__} at {at}")
            what, changed = f"{region}: {', '.join(changes)}", bytes(damaged)
        if changed not in seen:
            seen.add(changed)
            made += 1
            yield what, changed


def test_each_damaged_artefact_of_ours_is_an_error(tiny_int8_artefact: Path, tmp_path: Path) -> None:
    data = tiny_int8_artefact.read_bytes()
    model_bytes = container.read(tiny_int8_artefact).flatbuffer_bytes
    path = tmp_path / "damaged.tflite"
    accepted = []
    for what, damaged in mutations(data, model_bytes, OURS, seed=1):
        path.write_bytes(damaged)
        try:
            container.read(path)
        except (ArtefactError, ContractError) as error:
            assert str(path) in str(error)
        else:
            accepted.append(what)
    assert accepted == []


def test_each_bit_of_the_end_of_an_artefact_counts(tiny_int8_artefact: Path, tmp_path: Path) -> None:
    """The last 200 bytes: the zip's directory, its end and our comment. The interpreter is not asked."""
    data = tiny_int8_artefact.read_bytes()
    path = tmp_path / "damaged.tflite"
    for at in range(len(data) - 200, len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises((ArtefactError, ContractError)):
            edge.load(path, input=INCEPTION)
        path.write_bytes(data[:at])
        with pytest.raises((ArtefactError, ContractError)):
            edge.load(path, input=INCEPTION)


def _with_packed_labels(flatbuffer: bytes) -> bytes:
    packed = io.BytesIO(flatbuffer)
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\nbird\nfish\n" * 20)
    return packed.getvalue()


@pytest.mark.parametrize("kind", ["float", "int8"])
def test_no_damaged_foreign_model_takes_the_caller_down(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    flatbuffer: bytes = request.getfixturevalue(f"tiny_{kind}_flatbuffer")
    data = _with_packed_labels(flatbuffer)
    path = tmp_path / "damaged.tflite"
    outcomes: Counter[str] = Counter()
    # One process tries them all, and is started again when a file takes it down. `edge.load` starts one for each file.
    with Prober(timeout_s=TIMEOUT_S) as prober:
        for _what, damaged in mutations(data, len(flatbuffer), FOREIGN // 2, seed=2):
            path.write_bytes(damaged)
            try:
                graph.read(damaged, size=container.read(path).flatbuffer_bytes)
            except ArtefactError:
                outcomes["refused before the interpreter"] += 1
                continue
            outcomes["runs" if prober.try_file(path) is None else "refused by the other process"] += 1
    assert outcomes.total() == FOREIGN // 2
    # Damaged weights are weights: without a hash nobody can tell. Damaged structure is found before the interpreter sees it.
    assert outcomes["runs"] > 50
    assert outcomes["refused before the interpreter"] > 250


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float", "int8"])
def test_no_resigned_model_takes_the_caller_down(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """What was tried apart and passed is loaded and run in this process: it would be this test that crashes or hangs."""
    data = request.getfixturevalue(f"tiny_{kind}_artefact").read_bytes()
    packed = archive.read(data)
    assert packed is not None
    model, members = data[: packed.start], packed.members
    path = tmp_path / "resigned.tflite"
    outcomes: Counter[str] = Counter()
    random_ = np.random.default_rng(4)
    with Prober(timeout_s=TIMEOUT_S) as prober:
        for _what, damaged in mutations(model, len(model), RESIGNED // 2, seed=3):
            path.write_bytes(signed(damaged, members))
            try:
                source = container.read(path)
                _ = source.graph
            except EdgeError as error:
                assert str(path) in str(error)
                outcomes["refused before the interpreter"] += 1
                continue
            if prober.try_file(path) is not None:
                outcomes["refused by the other process"] += 1
                continue
            trust.vouch(source.sha256, runtime=interpreter.installed(), kernels="optimized")
            try:
                loaded = edge.load(path)
                loaded.predict(random_.integers(0, 256, (24, 24, 3)).astype(np.uint8))
                outcomes["runs"] += 1
            except EdgeError as error:
                assert "\n" not in str(error)
                outcomes["refused after it"] += 1
    assert outcomes.total() == RESIGNED // 2
    assert outcomes["runs"] > 50
    assert outcomes["refused before the interpreter"] > 250


_SAID = [
    *(None, True, -1, 0, 10**400, -(10**400), 1 << 70, 1e308, float("nan"), "", "\ud800", "\x1b[2J", "x" * 100_000, [], [[]], {}),
    *({"name": "\udfff"}, ["cat"] * 5000, "127.5", 0.1),
]


def _with_another_value(plain: Any, random_: random.Random) -> Any:
    """A copy of some JSON in which one value, anywhere, is another."""
    if isinstance(plain, dict) and plain and random_.random() < 0.9:
        key = random_.choice(sorted(plain))
        return {**plain, key: _with_another_value(plain[key], random_)}
    if isinstance(plain, list) and plain and random_.random() < 0.9:
        place = random_.randrange(len(plain))
        return [*plain[:place], _with_another_value(plain[place], random_), *plain[place + 1 :]]
    return random_.choice(_SAID)


@pytest.mark.parametrize("how", ["values", "bytes"])
def test_each_resigned_contract_is_read_or_refused(
    how: str, tiny_int8_artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = archive.read(tiny_int8_artefact.read_bytes())
    assert packed is not None
    model, text = tiny_int8_artefact.read_bytes()[: packed.start], packed.members[container.CONTRACT_FILE]
    path = tmp_path / "resigned.tflite"
    random_ = random.Random(5)
    outcomes: Counter[bool] = Counter()
    for _ in range(RESIGNED_CONTRACTS // 2):
        if how == "values":
            changed = json.dumps(_with_another_value(json.loads(text), random_)).encode()
        else:
            damaged = bytearray(text)
            random_.choice(CHANGES)(damaged, random_.randrange(len(damaged)), random_)
            changed = bytes(damaged)
        path.write_bytes(sealed(model, {**packed.members, container.CONTRACT_FILE: changed}))
        code = main(["inspect", str(path), "--json", str(tmp_path / "inspected.json")])
        outcomes[code == 0] += 1
        assert code in (0, 2), changed
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err
    assert outcomes[False] > 100
