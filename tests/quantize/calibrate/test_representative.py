"""The representative dataset: the same choice every time, and mistakes named before the minutes-long work."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import quantize
from edge.artefact.contract import Contract, InputSpec, OutputSpec
from edge.errors import DatasetError
from edge.runtime.preprocess import preprocess
from quantize import CalibrationError, RepresentativeDataset
from quantize.calibrate.input_statistics import Divergence, judge, measure
from quantize.calibrate.representative import _quotas
from quantize.quiet import import_keras, quiet

FLOWERS = Path(__file__).parents[4] / "shared" / "data" / "flowers"
NETWORK = Path(__file__).parents[4] / "shared" / "models"

SIZES = {"cats": 60, "dogs": 30, "emus": 3}


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    seed = 0
    for name, count in SIZES.items():
        for number in range(count):
            seed += 1
            write_image(folder / name / f"{number:03d}.png", seed)
    return folder


def contract(labels: tuple[str, ...] = (), **fields: Any) -> Contract:
    return Contract(
        name="test",
        input=InputSpec(width=16, height=12, **fields),
        outputs=(OutputSpec(name="y", kind="probabilities", labels=labels),),
    )


def choose(folder: Path, **options: Any) -> RepresentativeDataset:
    return RepresentativeDataset.from_folder(folder, contract=options.pop("contract", contract()), **options)


def checks(dataset: RepresentativeDataset) -> set[str]:
    return {finding.check for finding in dataset.findings}


def test_classes_keep_their_share_and_each_has_one(photos: Path) -> None:
    counts = Counter(item.id.split("/")[0] for item in choose(photos, count=31).items)
    assert counts == {"cats": 20, "dogs": 10, "emus": 1}
    assert Counter(item.id.split("/")[0] for item in choose(photos, count=12).items)["emus"] == 1
    assert len(choose(photos, count=93)) == 93
    assert len(choose(photos, count=5000)) == 93


def test_the_extremes_of_numbers_are_among_them(photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.glob("cats/*.png"))
    rng = np.random.default_rng(0)
    steering = rng.uniform(-0.1, 0.1, len(files))
    steering[7], steering[31] = -1.2, 0.9
    rows = [f"{file},{value:.3f},n/a" for file, value in zip(files, steering, strict=True)]
    (tmp_path / "drive.csv").write_text("\n".join(["path,steering,throttle", *rows]) + "\n")
    outputs = tuple(OutputSpec(name=name, kind="regression") for name in ("steering", "throttle"))
    for seed in range(5):  # whatever the others are
        chosen = choose(tmp_path / "drive.csv", count=50, seed=seed, contract=contract().replace(outputs=outputs))
        assert len(chosen) == 50 and {files[7].name, files[31].name} <= {item.path.name for item in chosen.items}
    few = choose(tmp_path / "drive.csv", count=20, contract=contract().replace(outputs=outputs))
    assert len(few) == 20  # too few for one in fifty
    many = tuple(OutputSpec(name=f"n{i}", kind="regression") for i in range(40))
    wide = [f"{file}," + ",".join(f"{value:.3f}" for value in rng.normal(size=40)) for file in files]
    (tmp_path / "wide.csv").write_text("\n".join([",".join(["path", *(o.name for o in many)]), *wide]) + "\n")
    assert len(choose(tmp_path / "wide.csv", count=5000, contract=contract().replace(outputs=many))) == 60


def test_the_choice_depends_on_seed_and_names_only(photos: Path, tmp_path: Path) -> None:
    chosen = choose(photos, count=40)
    assert chosen.identities == choose(photos, count=40).identities
    assert chosen.identities != choose(photos, count=40, seed=1).identities
    copy = tmp_path / "elsewhere"
    shutil.copytree(photos, copy)
    assert choose(copy, count=40).identities == chosen.identities
    assert [item.id for item in chosen.items] == sorted(item.id for item in chosen.items)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    for number in range(60):
        for each in range(2):
            write_image(folder / f"class{number:02d}" / f"{each}.png", 2 * number + each)
    return folder


def folders(dataset: RepresentativeDataset) -> list[str]:
    return [item.id.split("/")[0] for item in dataset.items]


def test_the_seed_draws_among_more_classes_than_images(classes: Path) -> None:
    drawn = folders(choose(classes, count=20))
    assert len(set(drawn)) == len(drawn) == 20
    assert drawn == folders(choose(classes, count=20))
    assert drawn != folders(choose(classes, count=20, seed=1))
    assert drawn[-1] > "class29", "the first by name were taken"


def test_classes_that_the_choice_left_out_are_a_finding(classes: Path) -> None:
    labels = tuple(f"class{number:02d}" for number in range(60))
    for made_for in (contract(labels), contract(), contract(("oak", "birch"))):
        few = choose(classes, count=20, contract=made_for)
        (finding,) = (finding for finding in few.findings if finding.check == "classes_missing")
        assert "no image of 40 of 60 classes among the 20 chosen" in finding.message
        assert "--count 60 or more" in finding.message
        assert "classes_missing" not in checks(choose(classes, count=60, contract=made_for))


def test_a_class_without_a_readable_image_gives_its_place_to_another(classes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "classes"
    shutil.copytree(classes, folder)
    broken = folders(choose(folder, count=20))[0]
    for path in (folder / broken).iterdir():
        path.write_bytes(b"no picture")
    dataset = choose(folder, count=20, max_unreadable=0.2)
    assert len(dataset) == 20
    assert broken not in folders(dataset)


def quotas_one_by_one(strata: dict[str, list[int]], count: int) -> dict[str, int]:
    """The shares as they are defined, one image after the other."""
    total = sum(map(len, strata.values()))
    count = min(count, total)
    quotas = {name: min(len(items), max(1, count * len(items) // total)) for name, items in strata.items()}
    for name in sorted(strata, key=lambda name: (-(count * len(strata[name]) % total), name)):
        if sum(quotas.values()) < count and quotas[name] < len(strata[name]):
            quotas[name] += 1
    while sum(quotas.values()) > count:
        quotas[max(quotas, key=lambda name: (quotas[name], name))] -= 1
    return quotas


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(0, 200))
def test_shares_are_those_taken_one_by_one(sizes: list[int], more: int) -> None:
    strata = {f"class{number:02d}": [0] * size for number, size in enumerate(sizes)}
    count = len(sizes) + more
    assert _quotas(strata, count, 0) == quotas_one_by_one(strata, count)  # type: ignore[arg-type]  # only their number counts


def test_identities_are_the_hashes_of_the_files(photos: Path) -> None:
    for name, digest in choose(photos, count=12).identities:
        assert digest == hashlib.sha256((photos / name).read_bytes()).hexdigest()


def test_tensors_are_what_the_contract_makes_of_each_image(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = contract(color="bgr", fit="letterbox")
    dataset = choose(photos, count=12, contract=spec)
    cached = list(dataset.tensors())
    for tensor, item in zip(cached, dataset.items, strict=True):
        assert isinstance(tensor, np.ndarray)
        assert (tensor.shape, str(tensor.dtype)) == ((1, 12, 16, 3), "float32")
        np.testing.assert_array_equal(tensor, preprocess(item.path, spec.input))
    monkeypatch.setattr("quantize.calibrate.representative.CACHE_BYTES", 3 * 12 * 16 * 3)  # only three pictures are kept
    for one, other in zip(cached, choose(photos, count=12, contract=spec).tensors(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_kept_of_small_pictures_does_not_grow_with_their_number(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantize.calibrate.representative.CACHED", 5)
    few, many = (choose(photos, count=count) for count in (10, 60))
    assert [sum(pixels.nbytes for pixels in dataset._pixels.values()) for dataset in (few, many)] == [5 * 12 * 16 * 3] * 2
    assert len(list(many.tensors())) == 60


def test_flat_folders_and_manifests(photos: Path, tmp_path: Path) -> None:
    assert len(choose(photos / "cats", count=20)) == 20
    rows = [f"{path},{path.parent.name}" for path in sorted(photos.glob("*/*.png"))]
    manifest = tmp_path / "photos.csv"
    manifest.write_text("path,label\n" + "\n".join(rows) + "\n")
    counts = Counter(Path(item.id).parent.name for item in choose(manifest, count=31).items)
    assert counts == {"cats": 20, "dogs": 10, "emus": 1}
    with pytest.raises(DatasetError, match="no images here"):
        (tmp_path / "empty").mkdir()
        choose(tmp_path / "empty")


def test_unreadable_images_are_listed_replaced_and_limited(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    first = choose(folder, count=50).items[0]
    (folder / first.id).write_bytes(b"\x89PNG\r\n\x1a\n truncated")
    dataset = choose(folder, count=50, max_unreadable=0.05)
    assert len(dataset) == 50
    assert first.id not in dict(dataset.identities)
    (finding,) = (finding for finding in dataset.findings if finding.check == "unreadable")
    assert first.id in finding.message
    (folder / "left-out.jp2").touch()
    (left_out,) = (found for found in choose(folder, count=50, max_unreadable=0.05).findings if found.check == "skipped")
    assert "left-out.jp2; convert them to JPEG or PNG" in left_out.message
    with pytest.raises(CalibrationError, match=rf"unreadable are 2\.0% of those tried.*{first.id}"):
        choose(folder, count=50)


def test_too_few_images(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="3 representative images, expected 10 at least"):
        choose(photos / "emus")
    assert "few_images" in checks(choose(photos, count=50))
    assert len(choose(photos / "emus", strict=False)) == 3
    with pytest.raises(CalibrationError, match="asked for 0"):
        choose(photos, count=0)


def test_classes_without_images_and_folders_that_are_no_classes(photos: Path) -> None:
    fitting = choose(photos, count=20, contract=contract(("cats", "Dogs", "emus")))
    assert not checks(fitting) & {"classes", "classes_missing"}
    missing = choose(photos, count=20, contract=contract(("cats", "dogs", "emus", "flies")))
    assert any(finding.check == "classes_missing" and "flies" in finding.message for finding in missing.findings)
    other = choose(photos, count=20, contract=contract(("oak", "birch")))
    assert "classes" in checks(other)


def test_images_of_the_validation_set_are_found_by_content(photos: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "validation"
    chosen = choose(photos, count=93).items[7]
    for number in range(5):
        write_image(held_out / f"{number}.png", 1000 + number)
    assert choose(photos, count=93, validation=held_out)
    shutil.copy(chosen.path, held_out / "renamed.png")
    with pytest.raises(CalibrationError, match=rf"1 representative images are in the validation set.*{chosen.id} = renamed.png"):
        choose(photos, count=93, validation=held_out)


def test_images_that_are_there_twice_are_counted(photos: Path, tmp_path: Path) -> None:
    for number in range(12):
        shutil.copy(photos / "cats" / f"{number % 6:03d}.png", tmp_path / f"{number}.png")
    (finding,) = (finding for finding in choose(tmp_path, count=12).findings if finding.check == "duplicates")
    assert finding.message.startswith("6 of 12")


# --- the pixel range ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with more red than blue, as most are."""
    folder = tmp_path_factory.mktemp("coloured")
    rng = np.random.default_rng(0)
    for number in range(100):
        base = rng.normal((160, 120, 70), (40, 30, 20), (5, 6, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(base).resize((24, 20), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def network(coloured: Path) -> Any:
    """A network whose first batch norm has seen the photos, fed RGB in -1..1."""
    keras = import_keras()
    with quiet():
        keras.utils.set_random_seed(1)
        image = keras.Input((12, 16, 3))
        first = keras.layers.BatchNormalization(momentum=0.0)
        x = keras.layers.ReLU()(first(keras.layers.Conv2D(16, 3, use_bias=False)(image)))
        model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x), name="network")
        tensors = choose(coloured, count=100, contract=contract()).tensors()
        model(np.concatenate(list(tensors)), training=True)
    return model


def spec(**fields: Any) -> InputSpec:
    return InputSpec(width=16, height=12, **fields)


def open_with(network: Any, coloured: Path, how: Any, **options: Any) -> RepresentativeDataset:
    return RepresentativeDataset.open(coloured, source=quantize.load(network, preprocess=how), count=100, **options)


def test_the_right_contract_passes(network: Any, coloured: Path) -> None:
    for how in ("inception", spec(fit="crop"), spec(resample="nearest"), spec(crop_fraction=0.9)):
        assert open_with(network, coloured, how).findings == ()


@pytest.mark.parametrize("how", ["raw", "unit", spec(color="bgr"), spec(mean=(123.7, 116.3, 103.5), scale=(58.4, 57.1, 57.4))])
def test_a_wrong_range_or_channel_order_is_an_error_that_names_the_right_one(how: Any, network: Any, coloured: Path) -> None:
    with pytest.raises(CalibrationError, match="not trained on pixels like these: the range of 'inception'.* fits it far better"):
        open_with(network, coloured, how)
    (finding,) = open_with(network, coloured, how, strict=False).findings
    assert (finding.check, finding.severity) == ("input_statistics", "error")


def test_other_photos_do_not_blame_the_contract(network: Any, photos: Path) -> None:
    finding = judge(measure(network, choose(photos, count=50).sample(), contract().input))
    assert finding is None or finding.severity != "error"


def test_a_network_without_batch_norm_says_that_it_cannot_be_checked(coloured: Path) -> None:
    keras = import_keras()
    with quiet():
        image = keras.Input((12, 16, 3))
        model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image)))
    (finding,) = open_with(model, coloured, "inception").findings
    assert (finding.check, finding.severity) == ("input_statistics", "info")


@pytest.mark.parametrize(
    ("stated", "best", "severity"),
    [
        (0.008, 0.2, None),
        (0.06, 0.001, None),
        (0.18, 0.17, None),
        (0.2, 0.008, "warning"),
        (0.45, 0.008, "error"),
        (0.45, 0.08, "warning"),
    ]
    + [(5.0, 4.0, "warning"), (14_000.0, 0.01, "error")],
)
def test_thresholds(stated: float, best: float, severity: str | None) -> None:
    finding = judge(Divergence(stated=stated, best=best, alternative="the range of 'inception'"))
    assert (finding.severity if finding else None) == severity


@pytest.mark.slow
@pytest.mark.skipif(not (FLOWERS.is_dir() and NETWORK.is_dir()), reason="the measuring data is not here")
def test_on_the_network_and_photos_that_the_thresholds_were_measured_on() -> None:
    import importlib.util

    loader = importlib.util.spec_from_file_location("flowers_network", NETWORK / "load.py")
    assert loader is not None and loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    with quiet():
        model = module.flowers()
    contract = quantize.load(model, preprocess="inception").contract
    pixels = RepresentativeDataset.from_folder(FLOWERS / "train", contract=contract).sample()
    stated = {}
    for how, (mean, scale) in {"inception": (127.5, 127.5), "unit": (0.0, 255.0), "raw": (0.0, 1.0)}.items():
        divergence = measure(model, pixels, InputSpec(width=96, height=96, mean=(mean,) * 3, scale=(scale,) * 3))
        assert divergence is not None
        stated[how] = divergence.stated
    assert stated["inception"] < 0.02
    assert 0.25 < stated["unit"] < 1.0
    assert stated["raw"] > 1000.0
