from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from devices.boards import wheels
from devices.boards.profiles import system
from devices.errors import BoardRefusedError, DeviceError
from devices.rollout.wheels import fetch


@pytest.mark.parametrize(
    ("python", "arch", "glibc", "runtime", "from_system"),
    [
        ((3, 11), "aarch64", (2, 36), "ai-edge-litert", ()),
        ((3, 12), "aarch64", (2, 39), "ai-edge-litert", ()),
        ((3, 13), "aarch64", (2, 41), "ai-edge-litert", ()),
        ((3, 14), "aarch64", (2, 43), "ai-edge-litert", ()),
        ((3, 14), "x86_64", (2, 43), "ai-edge-litert", ()),
        ((3, 11), "x86_64", (2, 36), "ai-edge-litert", ()),
        ((3, 11), "armv7l", (2, 36), "tflite-runtime", ("numpy", "PIL")),
    ],
)
def test_a_board_gets_the_wheels_that_fit(
    python: tuple[int, int], arch: str, glibc: tuple[int, int], runtime: str, from_system: tuple[str, ...]
) -> None:
    selected = wheels.select(python=python, arch=arch, glibc=glibc)
    assert selected.runtime == runtime
    assert selected.from_system == from_system
    for wheel in selected.wheels:
        assert wheel.python == f"cp{python[0]}{python[1]}"
        assert all(tag.endswith(f"_{arch}") for tag in wheel.platforms)
        assert wheel.glibc <= glibc
    assert {wheel.package for wheel in selected.wheels} | {name.replace("PIL", "pillow") for name in from_system} == {
        runtime,
        "numpy",
        "pillow",
    }


def test_tflite_runtime_gets_numpy_1() -> None:
    selected = wheels.select(python=(3, 11), arch="aarch64", glibc=(2, 36), runtime="tflite-runtime")
    assert {wheel.package: wheel.version for wheel in selected.wheels}["numpy"].startswith("1.")


@pytest.mark.parametrize(
    ("python", "arch", "glibc", "words"),
    [
        ((3, 9), "aarch64", (2, 31), "Bookworm"),
        (None, "aarch64", (2, 36), "no Python 3"),
        ((3, 15), "aarch64", (2, 43), "no interpreter is known for Python 3.15; 3.11 to 3.14 work"),
        ((3, 13), "armv7l", (2, 41), "32-bit"),
        ((3, 11), "aarch64", None, "glibc"),
        ((3, 11), "aarch64", (2, 17), "glibc 2.27"),
        ((3, 11), "riscv64", (2, 36), "riscv64"),
    ],
)
def test_a_board_without_wheels_is_told_why(
    python: tuple[int, int] | None, arch: str, glibc: tuple[int, int] | None, words: str
) -> None:
    with pytest.raises(BoardRefusedError, match=words):
        wheels.select(python=python, arch=arch, glibc=glibc)


def test_the_pins_agree_with_the_profiles_of_the_systems() -> None:
    for name in ("bookworm", "trixie", "noble", "resolute"):
        profile = system(name)
        major, minor = (int(part) for part in profile.python.value.split(".")[:2])
        known = {(wheel.package, wheel.arch) for wheel in profile.wheels.value}
        for arch in ("aarch64", "armv7l"):
            try:
                selected = wheels.select(python=(major, minor), arch=arch, glibc=(2, int(profile.glibc.value.split(".")[1])))
            except BoardRefusedError:
                assert not any(wheel_arch == arch for _, wheel_arch in known)
            else:
                assert (selected.runtime, arch) in known


def test_pins_are_whole() -> None:
    pins = wheels.pins()
    assert len(pins) >= 20
    assert all(len(pin.sha256) == 64 and pin.file.endswith(".whl") for pin in pins)
    assert len({pin.sha256 for pin in pins}) == len(pins)


def test_a_folder_of_wheels_serves_without_a_network(tmp_path: Path) -> None:
    data = b"a wheel"
    wheel = wheels.PinnedWheel(file="thing-1.0-cp311-cp311-manylinux_2_27_aarch64.whl", sha256=hashlib.sha256(data).hexdigest())
    (tmp_path / wheel.file).write_bytes(data)
    assert fetch([wheel], tmp_path / "cache", folder=tmp_path) == {wheel.sha256: tmp_path / wheel.file}
    assert not (tmp_path / "cache").exists()


def test_a_wheel_that_cannot_be_had_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    wheel = wheels.PinnedWheel(file="numpy-0.0.1-cp311-cp311-manylinux_2_27_aarch64.whl", sha256="0" * 64)
    (tmp_path / wheel.file).write_bytes(b"not it")  # a file of that name with another content is not taken
    with pytest.raises(DeviceError, match="--wheels") as caught:
        fetch([wheel], tmp_path / "cache", folder=tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == []
