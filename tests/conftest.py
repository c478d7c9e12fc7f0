"""Fixtures that several test modules share: real images, a network trained on them, and every variant of it.

They are made once a session, by the product's own functions. Training is the slow part: the network is kept in pytest's cache
(``.pytest_cache``) under a key of everything that it depends on, so that only the first run waits for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A machine that does other work is slow, and that is no fault of a test.
settings.register_profile("edgekit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edgekit")
# Read by TensorFlow when it is first imported, in this process and in those that tests start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Whoever runs the tests as a background job has Ctrl-C ignored, and every program that they start would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]
FILLER = "filler"  # the file that fills a small disk
Disk = Callable[[str], Path]
Once = Callable[[str, Callable[[Path], None]], Path]
# What some tests need beside Python, by Debian package: the program, and what is skipped without it.
_PROGRAMS = {
    "openssh-server": ("sshd", "a real SSH server"),
    "openssh-client": ("ssh", "a real SSH server"),
    "qemu-user-static": ("qemu-aarch64-static", "emulated boards"),
    "debootstrap": ("debootstrap", "emulated boards"),
    "systemd-container": ("systemd-nspawn", "services under systemd"),
    "strace": ("strace", "the order of what reaches the disk"),
    "chromium": ("chromium", "pages in a browser"),
}
TRAINING_EPOCHS = 3  # of the demo's schedule: better than nine digits in ten, which is enough to tell right from wrong


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say before a run of all tests how long it takes, and what is skipped for want of a package."""
    if config.args_source != pytest.Config.ArgsSource.TESTPATHS:
        return []
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    missing = {package: what for package, (program, what) in _PROGRAMS.items() if shutil.which(program, path=path) is None}
    lines = ["about 45 minutes in two processes on two cores (make test), all of them busy"]
    if missing:
        lines.append(
            f"skipped here: {', '.join(dict.fromkeys(missing.values()))}; to run them: apt-get install {' '.join(missing)}"
        )
    return lines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that take long first, so that at the end no process is left alone with one of them.

    Of those that want the large network a single one begins: the others come when it is made, and nobody waits for it.
    """
    for item in items:
        if _is_quick(item):
            item.add_marker("quick")
    large: dict[Path, bool] = {}
    for item in items:
        needs = not {"trained_network", "artefacts"}.isdisjoint(getattr(item, "fixturenames", ()))
        slow = item.get_closest_marker("slow") is not None or item.get_closest_marker("virtual") is not None
        if needs or slow:
            large[item.path] = large.get(item.path, False) or needs
    first = next((path for path, needs in large.items() if needs), None)
    rank = {path: 0 if path == first else 2 if needs else 1 for path, needs in large.items()}
    items.sort(key=lambda item: rank.get(item.path, 3))


def _is_quick(item: pytest.Item) -> bool:
    """Whether `make check` runs it: no network is trained or converted for it, no board emulated, and it does not take seconds."""
    waits = not {"trained_network", "small_network", "colours", "target", "full"}.isdisjoint(getattr(item, "fixturenames", ()))
    return not waits and all(
        item.get_closest_marker(name) is None for name in ("slow", "converts", "thorough", "wheel", "virtual")
    )


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Returns a function: a folder by name, filled by the first of the test processes that asks for it and read by all of them."""
    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def folder(name: str, fill: Callable[[Path], None]) -> Path:
        place, made = root / f"shared-{name}", root / f"shared-{name}.made"
        with open(root / f"shared-{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(place, ignore_errors=True)  # what an attempt that failed has left
                place.mkdir()
                fill(place)
                made.touch()
        return place

    return folder


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's digits: ``train/CLASS/*.png`` (1,000) and ``test/CLASS/*.png`` (797)."""
    from quantize import demo

    folder = tmp_path_factory.mktemp("digits")
    demo.digits_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def few_digits(digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train`` and ``test`` with eight digits of each class: for what only has to run."""
    folder = tmp_path_factory.mktemp("few-digits")
    for part in ("train", "test"):
        for label in sorted((digits_folder / part).iterdir()):
            target = folder / part / label.name
            target.mkdir(parents=True)
            for image in sorted(label.iterdir())[:8]:
                shutil.copy(image, target)
    return folder


@pytest.fixture(scope="session")
def trained_network(digits_folder: Path, request: pytest.FixtureRequest) -> Path:
    """A Keras 3 InceptionResNetV2 (75 x 75, 10 classes) trained on ``digits_folder``, as a ``.keras`` file."""
    from quantize import demo

    network = request.config.cache.mkdir("networks") / f"digits-{_training_key()}.keras"
    with open(network.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of the test processes trains, the others wait for it
        if not network.exists():
            for stale in network.parent.glob("digits-*.keras"):
                stale.unlink()
            demo.train(digits_folder, network, epochs=TRAINING_EPOCHS)
    return network


@pytest.fixture(scope="session")
def artefacts(trained_network: Path, digits_folder: Path, once: Once) -> dict[str, Path]:
    """All five variants of ``trained_network`` by name, made by one call, calibrated on 64 training digits."""

    def make(folder: Path) -> None:
        import quantize

        source = quantize.load(trained_network, preprocess="inception", labels=[str(digit) for digit in range(10)])
        photos = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=64, contract=source.contract)
        for artefact in quantize.post_training_variants(source, photos):
            artefact.save(folder)

    return _by_variant(once("artefacts", make))


@pytest.fixture(scope="session")
def small_network(digits_folder: Path, once: Once) -> Any:
    """A Keras 3 network of what the large one is made of (convolution, batch norm, both poolings, concatenation, residual add).

    32 x 32, 10 classes, about 20,000 parameters, trained on the digits for some seconds: right on more than nine in ten.
    """
    import keras

    folder = once("small-network", lambda folder: _small_network(digits_folder).save(folder / "small.keras"))
    return keras.models.load_model(folder / "small.keras")


@pytest.fixture(scope="session")
def small_artefacts(small_network: Any, digits_folder: Path, once: Once) -> dict[str, Path]:
    """All variants of ``small_network`` by name, and ``uint8`` (full integer with uint8 input and output)."""

    def make(folder: Path) -> None:
        import quantize
        from quantize.ptq import PtqConfig

        labels = [str(digit) for digit in range(10)]
        source = quantize.load(small_network, name="small", preprocess="inception", labels=labels)
        photos = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=100, contract=source.contract)
        for artefact in quantize.post_training_variants(source, photos, config=PtqConfig(runtime="tflite-runtime-2.14")):
            artefact.save(folder)
        quantize.post_training(source, photos, "int8", config=PtqConfig(io="uint8")).save(folder / "small.uint8.tflite")

    return _by_variant(once("small-artefacts", make))


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, so that a command which forgets its ``--out`` cannot litter the repository."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path


@pytest.fixture
def power_chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program ``vcgencmd`` on the path, that says what a Raspberry Pi 5's does: one rail of 1.6 W."""
    program = tmp_path / "bin/vcgencmd"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        "case $1 in\n"
        "  pmic_read_adc) printf '  VDD_CORE_A current(7)=2.0A\\n  VDD_CORE_V volt(15)=0.8V\\n  EXT5V_V volt(24)=5.0V\\n' ;;\n"
        "  get_throttled) echo throttled=0x0 ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounts file systems of a size (``64k``, ``4m``)."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs Linux and root")
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=False).returncode:
            pytest.skip("this machine mounts no file systems")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def full(disk: Disk) -> Path:
    """64 KiB, of which not one byte is left."""
    place = disk("64k")
    with pytest.raises(OSError, match="No space left"), open(place / FILLER, "wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    return place


def _small_network(digits_folder: Path) -> Any:
    import keras
    import numpy as np

    from edge.artefact.contract import InputSpec
    from edge.runtime.preprocess import preprocess

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((32, 32, 3))
    stem = layers.Conv2D(16, 3, strides=2, use_bias=False)(image)
    stem = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(stem))
    left = layers.Conv2D(16, 3, padding="same", activation="relu")(stem)
    right = layers.MaxPooling2D(3, strides=1, padding="same")(stem)
    mixed = layers.Concatenate()([left, right])
    up = layers.Conv2D(32, 3, padding="same")(layers.AveragePooling2D(3, strides=1, padding="same")(mixed))
    block = layers.MaxPooling2D(2)(layers.ReLU()(layers.Add()([mixed, up])))
    answer = layers.Dense(10, activation="softmax", name="predictions")(layers.Flatten()(layers.Conv2D(32, 3)(block)))
    network = keras.Model(image, answer, name="small")
    files = sorted((digits_folder / "train").glob("*/*.png"))
    spec = InputSpec(width=32, height=32)
    tensors = np.concatenate([preprocess(file, spec) for file in files])
    labels = np.array([int(file.parent.name) for file in files])
    network.compile(optimizer=keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy")
    network.fit(tensors, labels, batch_size=32, epochs=8, verbose=0)
    return network


def _by_variant(folder: Path) -> dict[str, Path]:
    """The files ``NAME.VARIANT.tflite`` of a folder, by variant."""
    return {path.name.split(".")[-2]: path for path in sorted(folder.glob("*.tflite"))}


def left_in(place: Path) -> list[str]:
    """Return the files on a small disk, but for what fills it."""
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file() and path.name != FILLER)


def _training_key() -> str:
    import keras
    import tensorflow as tf

    from edge.runtime import preprocess
    from quantize import demo

    code = (demo.digits_dataset, demo.Digits, demo.train, demo._network, preprocess)
    parts = (*(inspect.getsource(part) for part in code), tf.__version__, keras.__version__, str(TRAINING_EPOCHS))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
