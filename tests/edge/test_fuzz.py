"""Thousands of damaged files, ours (with old hashes, and with new ones that fit) and foreign: each is answered with an error or a
model, and nothing crashes or hangs.
"""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edge
from edge.artefact import container, graph
from edge.artefact.flatbuffer import Flatbuffer
from edge.errors import ArtefactError, ContractError
from edge.runtime.isolation import Prober
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.thorough

OURS = 1200
RESIGNED = 2400
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
    source = random_.randrange(max(1, len(data) - count))
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


@pytest.mark.parametrize("kind", ["float", "int8"])
def test_no_altered_artefact_whose_hashes_fit_takes_the_caller_down(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A process opens them all as a command does, and runs what passed its trial: nothing crashes, hangs or escapes."""
    artefact = request.getfixturevalue(f"tiny_{kind}_artefact")
    words = [str(artefact), str(tmp_path), "0" if kind == "float" else str(RESIGNED), str(RESIGNED // 2)]
    command = [sys.executable, "-W", "ignore", "-m", "tests.edge.resigned_fuzzing", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    at = (tmp_path / "at").read_text()
    assert done.returncode == 0, f"ended at {at} ({tmp_path}): {done.stderr[-2000:]}"
    found = json.loads(done.stdout)
    assert found["escaped"] == {}
    outcomes = {name: Counter(counts) for name, counts in found["outcomes"].items()}
    assert sum(counts.total() for counts in outcomes.values()) == RESIGNED // 2
    assert outcomes["model bytes"]["runs"] > 25
    assert outcomes["model bytes"]["refused before the interpreter"] > 150
    assert outcomes["contract values"]["runs"] > 2
    for name in ("truncated model", "contract values", "contract bytes", "members", "zip bytes"):
        assert outcomes[name]["refused before the interpreter"] > 50
