"""Opens thousands of altered artefacts whose hashes fit, in a process of its own:

    python -m tests.edge.resigned_fuzzing ARTEFACT FOLDER FIRST COUNT

What was tried apart and passed is loaded and run here: it would be this process that crashes. Prints what became of them as JSON, with
each exception that was no EdgeError. Where the process dies, ``FOLDER/at`` holds the number of the one that it was at.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import random
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import edge
from edge.artefact import archive, container
from edge.cli import main as command
from edge.errors import EdgeError
from edge.runtime import interpreter, trust
from edge.runtime.isolation import Prober
from tests.edge.resigning import sealed, signed
from tests.edge.test_fuzz import CHANGES, mutations

HANGS_S = 120
_TRIAL_S = 10.0
_SAID: list[Any] = [
    *(
        None,
        True,
        -1,
        0,
        1,
        10**400,
        -(10**400),
        1 << 70,
        1e308,
        -1e308,
        1e-320,
        float("nan"),
        "",
        "\ud800",
        "\x1b[2J",
        "x" * 100_000,
    ),
    *(
        [],
        [[]],
        {},
        {"name": "\udfff"},
        ["cat"] * 5000,
        ["a", "b", "c", "d"],
        "127.5",
        0.1,
        8192,
        "probabilities",
        "logits",
        "a\nb",
    ),
]
_NAMES = [
    "",
    "/etc/passwd",
    "../up",
    "a\\b",
    "\udcff",
    "\x1b[2J",
    "labels.txt",
    "contract.json",
    "x" * 60_000,
    "a/../b",
    "ä",
    "a\0b",
]

Members = Mapping[str, bytes]


def with_another_value(plain: Any, random_: random.Random) -> Any:
    """Return a copy of some JSON in which one value, anywhere, is another."""
    if isinstance(plain, dict) and plain and random_.random() < 0.9:
        key = random_.choice(sorted(plain))
        if random_.random() < 0.05:
            return {name: value for name, value in plain.items() if name != key}
        return {**plain, key: with_another_value(plain[key], random_)}
    if isinstance(plain, list) and plain and random_.random() < 0.9:
        place = random_.randrange(len(plain))
        return [*plain[:place], with_another_value(plain[place], random_), *plain[place + 1 :]]
    return random_.choice(_SAID)


def _values(model: bytes, members: Members, random_: random.Random) -> bytes:
    said = with_another_value(json.loads(members[container.CONTRACT_FILE]), random_)
    if isinstance(said, dict) and random_.random() < 0.5:
        labels = "".join(f"{label}\n" for label in _labels(said)).encode("utf-8", "surrogatepass")
        members = {**members, container.LABELS_FILE: labels}  # as the contract has them, so that it comes to be read
    return sealed(model, {**members, container.CONTRACT_FILE: json.dumps(said).encode()})


def _labels(said: dict[str, Any]) -> list[Any]:
    try:
        return list(said["outputs"][0]["labels"])
    except (KeyError, IndexError, TypeError):
        return []


def _contract_bytes(model: bytes, members: Members, random_: random.Random) -> bytes:
    text = bytearray(members[container.CONTRACT_FILE])
    random_.choice(CHANGES)(text, random_.randrange(len(text)), random_)
    return sealed(model, {**members, container.CONTRACT_FILE: bytes(text)})


def _members(model: bytes, members: Members, random_: random.Random) -> bytes:
    changed = dict(members)
    name = random_.choice(sorted(changed))
    what = random_.randrange(4)
    if what == 0:
        changed[name] = random_.choice((b"", b"\xff\xfe", b"\n" * 1000, bytes(1000), "\ud800".encode("utf-8", "surrogatepass")))
    elif what == 1:
        del changed[name]
    elif what == 2:
        changed[random_.choice([n for n in _NAMES if n.isascii() or n == "ä"])] = random_.randbytes(20)
    else:
        damaged = bytearray(changed[name])
        random_.choice(CHANGES)(damaged, random_.randrange(len(damaged)), random_)
        changed[name] = bytes(damaged)
    return sealed(model, changed)


def _zip_bytes(model: bytes, members: Members, random_: random.Random) -> bytes:
    zipped = bytearray(archive.write(len(model), members))
    reach = random_.choice((22, 200, len(zipped)))
    for _ in range(random_.choice((1, 1, 2, 4))):
        end = len(zipped) - reach
        at = random_.randrange(max(0, end), len(zipped))
        random_.choice(CHANGES)(zipped, min(at, len(zipped) - 1), random_)
    return resealed(model + bytes(zipped))


def resealed(covered: bytes) -> bytes:
    import hashlib

    return covered + archive.COMMENT + hashlib.sha256(covered).hexdigest().encode()


KINDS: dict[str, Callable[[bytes, Members, random.Random], bytes]] = {
    "contract values": _values,
    "contract bytes": _contract_bytes,
    "members": _members,
    "zip bytes": _zip_bytes,
}


def altered(data: bytes, first: int, count: int) -> Any:
    """Yield the number, the kind and the content of each: half of them have another model, half another zip."""
    packed = archive.read(data)
    assert packed is not None
    model, members = data[: packed.start], packed.members
    models = mutations(model, len(model), (count + 1) // 2, seed=1000 + first)
    for number in range(first, first + count):
        random_ = random.Random(number)
        if number % 2 == 0:
            what, damaged = next(models)
            kind = "truncated model" if what.startswith("cut") else "model bytes"
            yield number, kind, signed(damaged, members)
        else:
            kind = list(KINDS)[number // 2 % len(KINDS)]
            yield number, kind, KINDS[kind](model, members, random_)


def _open(path: Path, prober: Prober, picture: np.ndarray[Any, Any]) -> str:
    try:
        source = container.read(path)
        _ = source.graph
    except EdgeError as error:
        assert "\n" not in str(error).removeprefix(str(path))
        return "refused before the interpreter"
    if prober.try_file(path) is not None:
        return "refused by the other process"
    trust.vouch(source.sha256, runtime=interpreter.installed(), kernels="optimized")
    try:
        loaded = edge.load(path)
        loaded.predict(picture)
        if any(output.is_classes for output in loaded.contract.outputs):
            loaded.classify(picture)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            assert command(["inspect", str(path)]) == 0
            assert command(["selftest", str(path)]) in (0, 1, 2)
        assert "\x1b" not in said.getvalue()
        said.getvalue().encode()
    except EdgeError:
        return "refused after it"
    return "runs"


def main(artefact: str, folder: str, first: int, count: int) -> None:
    path = Path(folder) / "altered.tflite"
    picture = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    outcomes: dict[str, Counter[str]] = {}
    escaped: dict[str, str] = {}
    with Prober(timeout_s=_TRIAL_S) as prober:
        for number, kind, content in altered(Path(artefact).read_bytes(), first, count):
            (Path(folder) / "at").write_text(str(number))
            path.write_bytes(content)
            faulthandler.dump_traceback_later(HANGS_S, exit=True)
            try:
                outcome = _open(path, prober, picture)
            except Exception:
                escaped[f"{number} ({kind})"] = traceback.format_exc()[-1500:]
                (Path(folder) / f"escaped-{number}.tflite").write_bytes(content)
            else:
                outcomes.setdefault(kind, Counter())[outcome] += 1
            faulthandler.cancel_dump_traceback_later()
    json.dump({"outcomes": outcomes, "escaped": escaped, "processes": prober.starts}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
