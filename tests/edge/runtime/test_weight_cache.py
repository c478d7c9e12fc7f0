"""The cache of packed weights: it answers as the interpreter does, or it is not used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge
from edge.cli import main
from edge.runtime import golden, interpreter, weight_cache, weight_cache_maker
from edge.runtime.loading import twin
from edge.runtime.model import Model
from tests.conftest import REPOSITORY, Disk
from tests.edge import wide as wide_network
from tests.edge.conftest import SIZE

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(interpreter.compiled_library() is None, reason="needs ai-edge-litert with its libLiteRt.so"),
]


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def get(scheme: str, outputs: int = 1) -> Path:
        name = f"{scheme}-{outputs}"
        if name not in made:
            path = tmp_path_factory.mktemp("wide") / f"{name}.tflite"
            path.write_bytes(wide_network.flatbuffer(scheme, outputs))
            made[name] = path
        return made[name]

    return get


def _load(path: Path, **options: Any) -> Model:
    fed = {"width": SIZE, "height": SIZE, "mean": (127.5,), "scale": (127.5,)}
    return edge.load(path, input=fed, kind="features", threads=options.pop("threads", 1), **options)


def _answers(model: Model) -> list[bytes]:
    """Return the bits of every output, in the order of the file, for a few pictures."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(4):
        answered = model.invoke(model.preprocess(random.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)))
        found += [array.tobytes() for array in answered.values()]
    return found


def _files(home: Path, ending: str = ".weights") -> list[Path]:
    return sorted(path for path in (home / "weights").iterdir() if path.name.endswith(ending))


@pytest.mark.parametrize("scheme", ["float32", "int8", "dynamic", "float16"])
def test_answers_are_the_interpreters_bit_for_bit(scheme: str, wide: Callable[..., Path], own_cache: Path) -> None:
    plain = _load(wide(scheme), weight_cache=False)
    assert not plain.runtime.weight_cache and not (own_cache / "weights").exists()
    made, found = _load(wide(scheme)), _load(wide(scheme))
    for model in (made, found):
        assert model.runtime.weight_cache and model.note is None
        assert _answers(model) == _answers(plain)
        assert [str(spec.quant) for spec in (*model.inputs, *model.outputs)] == [
            str(spec.quant) for spec in (*plain.inputs, *plain.outputs)
        ]
    (entry,) = weight_cache.entries()
    assert entry.without is None and entry.bytes == _files(own_cache)[0].stat().st_size > wide(scheme).stat().st_size // 4


def test_this_version_of_the_runtime_is_one_that_these_tests_compare() -> None:
    """A newer one is compared on every machine that runs it, until these tests pass with it and it is entered."""
    library = interpreter.compiled_library()
    assert library is not None and library[1] in weight_cache_maker.COMPARED_VERSIONS


def test_outputs_keep_the_order_of_the_file_and_not_of_the_signature(wide: Callable[..., Path], own_cache: Path) -> None:
    plain, cached = (_load(wide("float32", 2), weight_cache=choice) for choice in (False, True))
    assert cached.runtime.weight_cache
    assert [spec.index for spec in cached.outputs] == [spec.index for spec in plain.outputs]
    assert _answers(cached) == _answers(plain)


def test_numbers_of_threads_share_one_file(wide: Callable[..., Path], own_cache: Path) -> None:
    models = [_load(wide("int8"), threads=threads) for threads in (1, 2, 1)]
    assert all(model.runtime.weight_cache for model in models)
    assert [model.runtime.threads for model in models] == [1, 2, 1]
    assert len(_files(own_cache)) == 1 and len(_files(own_cache, ".json")) == 2


def test_a_second_interpreter_of_a_validation_shares_the_file(wide: Callable[..., Path], own_cache: Path) -> None:
    model = _load(wide("int8"), threads=2)
    other = twin(model, 1)
    assert other.runtime.weight_cache and other.runtime.threads == 1 and len(_files(own_cache)) == 1
    assert _answers(other) == _answers(model)
    plain = twin(_load(wide("int8"), threads=2, weight_cache=False), 1)
    assert not plain.runtime.weight_cache and _answers(plain) == _answers(model)


def _regions(data: bytes) -> dict[str, int]:
    """Return an offset in each part of XNNPACK's file: header, packed weights, and the list of buffers behind them."""
    begin = int.from_bytes(data[8:16], "little")
    assert 0 < begin < len(data)
    inside = {"version": 0, "offset": 9, "length": 17, "build": 26, "weights": 4096, "middle": begin // 2}
    return {**inside, "list": begin + 4, "entry": (begin + len(data)) // 2, "end": len(data) - 3}


def _damaged(data: bytes, how: str) -> bytes:
    if how == "truncated":
        return data[: len(data) // 2]
    if how == "empty":
        return b""
    if how == "longer":
        return data + bytes(128)
    at = _regions(data)[how]
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


REGIONS = ("version", "offset", "length", "build", "weights", "middle", "list", "entry", "end")


@pytest.mark.parametrize("how", [*REGIONS, "truncated", "empty", "longer"])
def test_a_changed_file_is_made_anew_and_never_answers(how: str, wide: Callable[..., Path], own_cache: Path) -> None:
    expected = _answers(_load(wide("int8")))
    (file,) = _files(own_cache)
    whole = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(_damaged(whole, how))
    model = _load(wide("int8"))
    assert model.runtime.weight_cache and _answers(model) == expected
    assert _files(own_cache) == [file] and file.read_bytes() == whole


@pytest.mark.parametrize("region", ["weights", "entry"])
def test_a_change_with_size_and_time_put_back_is_seen(region: str, wide: Callable[..., Path], own_cache: Path) -> None:
    expected = _answers(_load(wide("int8")))
    (file,) = _files(own_cache)
    before, whole = file.stat(), file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(_damaged(whole, region))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns and file.stat().st_size == before.st_size
    assert _answers(_load(wide("int8"))) == expected
    assert file.read_bytes() == whole


def test_another_models_file_in_its_place_never_answers(wide: Callable[..., Path], own_cache: Path) -> None:
    expected = _answers(_load(wide("int8")))
    (mine,) = _files(own_cache)
    _load(wide("dynamic"))
    (other,) = set(_files(own_cache)) - {mine}
    os.replace(other, mine)
    assert _answers(_load(wide("int8"))) == expected


def test_a_record_that_names_another_models_file_is_not_believed(wide: Callable[..., Path], own_cache: Path) -> None:
    expected = _answers(_load(wide("int8")))
    (mine,) = _files(own_cache, ".json")
    _load(wide("dynamic"))
    (other,) = set(_files(own_cache, ".json")) - {mine}
    mine.write_bytes(other.read_bytes())
    model = _load(wide("int8"))
    assert model.runtime.weight_cache and _answers(model) == expected


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 1}', "[" * 5000, '{"version": 1, "key": {}, "sha256": "../../x"}'])
def test_a_record_that_is_none_is_made_anew(text: str, wide: Callable[..., Path], own_cache: Path) -> None:
    _load(wide("int8"))
    (record,) = _files(own_cache, ".json")
    record.write_text(text)
    assert _load(wide("int8")).runtime.weight_cache
    assert json.loads(record.read_text())["key"]["threads"] == 1


def test_every_bit_of_a_record_may_flip(wide: Callable[..., Path], own_cache: Path) -> None:
    expected = _answers(_load(wide("int8")))
    (record,) = _files(own_cache, ".json")
    whole = record.read_bytes()
    for at in range(0, len(whole), 61):
        record.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert _answers(_load(wide("int8"))) == expected


def test_a_file_is_compared_in_full_again_after_a_boot(wide: Callable[..., Path], own_cache: Path) -> None:
    """A card that reads other bytes changes no time; the record of an earlier boot is no proof."""
    expected = _answers(_load(wide("int8")))
    (file,) = _files(own_cache)
    (record,) = _files(own_cache, ".json")
    file.chmod(0o600)
    whole = file.read_bytes()
    file.write_bytes(_damaged(whole, "weights"))
    found, now = json.loads(record.read_text()), file.stat()
    stamp = [now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns]
    record.write_text(json.dumps({**found, "stamp": [*stamp, "another boot"]}))
    assert _answers(_load(wide("int8"))) == expected
    assert file.read_bytes() == whole


def test_what_xnnpack_does_not_pack_runs_in_the_interpreter(wide: Callable[..., Path], own_cache: Path) -> None:
    for _ in range(2):
        model = _load(wide("int16x8"))
        assert not model.runtime.weight_cache and model.note is None
    (entry,) = weight_cache.entries()
    assert entry.without == "XNNPACK packs next to none of its weights" and not _files(own_cache)


def test_small_models_and_other_kernels_have_no_cache(
    tiny_int8_artefact: Path, wide: Callable[..., Path], own_cache: Path
) -> None:
    assert not edge.load(tiny_int8_artefact).runtime.weight_cache
    assert not _load(wide("int8"), kernels="reference").runtime.weight_cache
    assert not (own_cache / "weights").exists()


def test_a_folder_that_others_can_write_to_is_not_used(wide: Callable[..., Path], own_cache: Path) -> None:
    expected = _answers(_load(wide("int8")))
    (own_cache / "weights").chmod(0o777)
    model = _load(wide("int8"))
    assert not model.runtime.weight_cache and _answers(model) == expected
    assert model.note is not None and "others can write to it" in model.note


def test_a_disk_without_room_means_without(
    wide: Callable[..., Path], disk: Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = disk("24m")
    monkeypatch.setenv("EDGEKIT_HOME", str(place))
    model = _load(wide("int8"))
    assert not model.runtime.weight_cache
    assert model.note is not None and "too large for the disk" in model.note and str(place) in model.note
    assert not _files(place) and not _files(place, ".part")
    assert _answers(model) == _answers(_load(wide("int8"), weight_cache=False))


def test_what_was_not_used_for_longest_makes_way(wide: Callable[..., Path], disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    place = disk("40m")  # a quarter of it: room for one file of five MB, and not for two
    monkeypatch.setenv("EDGEKIT_HOME", str(place))
    assert _load(wide("int8")).runtime.weight_cache
    (first,) = _files(place)
    assert _load(wide("dynamic")).runtime.weight_cache
    (second,) = _files(place)
    assert second != first and len(_files(place, ".json")) == 1
    assert not _load(wide("float32")).runtime.weight_cache  # larger than all that may be kept: nothing makes way for it
    assert _files(place) == [second]


def test_what_killed_processes_left_is_removed(wide: Callable[..., Path], own_cache: Path) -> None:
    _load(wide("int8"))
    (kept,) = _files(own_cache)
    for name in (f"{'a' * 40}.part", f"{'b' * 64}.weights"):
        (own_cache / "weights" / name).write_bytes(b"left")
    (own_cache / "weights" / f"{'c' * 40}.json").write_text("{")
    assert _load(wide("dynamic")).runtime.weight_cache
    assert kept in _files(own_cache) and len(_files(own_cache)) == 2
    assert len(_files(own_cache, ".json")) == 2 and not _files(own_cache, ".part")


def test_a_place_that_cannot_be_made_means_without(
    wide: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "file"))
    model = _load(wide("int8"))
    assert not model.runtime.weight_cache and model.note is not None and "EDGEKIT_HOME" in model.note


PROGRAM = """
import sys, edge
fed = {"width": 24, "height": 24, "mean": (127.5,), "scale": (127.5,)}
model = edge.load(sys.argv[1], input=fed, kind="features", threads=1)
import numpy as np
answered = model.invoke(model.preprocess(np.full((24, 24, 3), 77, np.uint8)))
print(model.runtime.weight_cache, [array.tolist() for array in answered.values()])
"""


def test_processes_that_start_at_once_all_answer_alike(wide: Callable[..., Path], own_cache: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(wide("int8"))], stdout=subprocess.PIPE, cwd=REPOSITORY)
        for _ in range(4)
    ]
    said = {process.communicate()[0] for process in running}
    assert all(process.returncode == 0 for process in running)
    assert len(said) == 1 and said.pop().startswith(b"True ")
    assert len(_files(own_cache)) == 1 and len(_files(own_cache, ".json")) == 1 and not _files(own_cache, ".part")


def test_other_threads_go_on_while_a_model_runs(wide: Callable[..., Path], own_cache: Path) -> None:
    """ai-edge-litert's own CompiledModel holds Python's lock meanwhile: no watchdog, camera or second worker would run."""
    model = _load(wide("float32"))
    assert model.runtime.weight_cache
    go, went = threading.Lock(), list[bool]()
    go.acquire()

    def wait() -> None:
        go.acquire()
        went.append(True)

    threading.Thread(target=wait, daemon=True).start()
    interval = sys.getswitchinterval()
    with model.exclusive() as loaded:
        loaded.set_input(model.preprocess(np.zeros((SIZE, SIZE, 3), np.uint8)))
        sys.setswitchinterval(1000)  # the lock goes over only where it is given up
        try:
            go.release()
            for _ in range(2000):
                loaded.invoke()
                if went:
                    break
            assert went
        finally:
            sys.setswitchinterval(interval)


def test_a_model_that_remembers_is_not_compiled(own_cache: Path, tmp_path: Path) -> None:
    """A compiled model cannot be told to forget what its last run left: a recurrent network stays with the interpreter."""
    import keras

    image = keras.Input((SIZE, SIZE, 3), batch_size=1)
    recurrent = keras.layers.LSTM(600)(keras.layers.Reshape((SIZE, SIZE * 3))(image))
    path = tmp_path / "recurrent.tflite"
    path.write_bytes(wide_network.converted(keras.Model(image, keras.layers.Dense(4)(recurrent))))
    model = _load(path)
    assert not model.runtime.weight_cache and model.note is None
    (entry,) = weight_cache.entries()
    assert entry.without in ("it remembers something between two runs", "it has more than one graph")
    assert _answers(model) == _answers(model)


def test_the_artefacts_contract_and_golden_samples_hold(own_cache: Path, tmp_path: Path) -> None:
    model = edge.load(wide_network.artefact(tmp_path / "wide.tflite"))
    assert model.runtime.weight_cache
    tested = golden.replay(model)
    assert tested.passed and tested.exact


def test_a_command_says_once_why_there_is_none_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(wide_network.artefact(tmp_path / "wide.tflite"))
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "file"))
    for expected in (1, 0):  # the second time in this process it is known
        assert main(["selftest", path]) == 0
        assert capsys.readouterr().err.count("edgekit: note: running without a cache of packed weights") == expected
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    assert main(["selftest", path, "--no-weight-cache"]) == 0
    assert "weights from the cache" not in capsys.readouterr().out and not (tmp_path / "home" / "weights").exists()
    assert main(["selftest", path]) == 0
    said = capsys.readouterr()
    assert "weights from the cache" in said.out and said.err == ""
