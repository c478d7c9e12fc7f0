"""Validation end to end on the network of colours: what the numbers are, and which mistakes are named."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import edge
from edge import cli
from edge.artefact import container
from edge.artefact.contract import Contract, InputSpec, OutputSpec, Quantization
from edge.data.dataset import LabelledImages
from edge.errors import ContractError, DatasetError, UsageError
from edge.numbers import metrics, statistics
from edge.validation import text as validation_text
from edge.validation.class_scores import NEAR_TIE
from edge.validation.merging import merge
from edge.validation.reference import ReferenceWriter
from edge.validation.run import dataset_sha256, validate
from tests.edge.colours import LABELS, SIZE, Colours, convert, network

pytestmark = pytest.mark.usefixtures("own_cache")


def by_hand(path: Path, dataset: LabelledImages) -> NDArray[np.float32]:
    model = edge.load(path)
    return np.stack([model.predict(item.path)["colour"] for item in dataset])


def without_timing(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name != "timing"}


def test_every_number_is_what_running_both_by_hand_gives(colours: Colours) -> None:
    report = validate(colours.candidate, colours.photos, reference=colours.reference, max_drop=0.5).to_dict()
    dataset = LabelledImages.open(colours.photos)
    labels = np.array([item.label for item in dataset])
    before, after = by_hand(colours.reference, dataset), by_hand(colours.candidate, dataset)
    right_before, right = before.argmax(1) == labels, after.argmax(1) == labels
    lost, won = np.flatnonzero(right_before & ~right), np.flatnonzero(~right_before & right)
    assert 0.5 < right.mean() < 1.0 and lost.size + won.size > 0  # the test can tell right from wrong

    assert report["images"] == 160
    assert report["reference"]["top1"] == pytest.approx(right_before.mean())
    assert report["candidate"] == {
        "top1": pytest.approx(right.mean()),
        "top5": 1.0,
        "ece": pytest.approx(metrics.expected_calibration_error(after.max(1), right)),
    }
    drop = report["drop"]
    assert drop["top1"] == pytest.approx(right_before.mean() - right.mean())
    assert drop["ci95"] == list(statistics.paired_interval(lost.size, won.size, 160))
    assert (drop["flips_lost"], drop["flips_won"]) == (lost.size, won.size)
    assert drop["p_value"] == statistics.mcnemar_exact(lost.size, won.size)
    assert [flip["image"] for flip in report["lost"]] == [dataset.items[int(i)].id for i in lost]
    assert [flip["image"] for flip in report["won"]] == [dataset.items[int(i)].id for i in won]
    assert report["agreement"] == pytest.approx((before.argmax(1) == after.argmax(1)).mean())
    shift = np.abs(before.astype(np.float64) - after).sum(1).mean() / 2
    assert report["probability_shift"] == pytest.approx(shift, rel=1e-5)
    assert np.array(report["confusion"]["candidate"]).sum(1).tolist() == [40] * 4
    assert np.trace(report["confusion"]["candidate"]) == right.sum()
    assert sum(row["flips_lost"] for row in report["per_class"]) == lost.size
    assert [row["label"] for row in report["per_class"]] == list(LABELS)
    assert report["verdict"] == "pass"
    assert set(report["runtime"]) >= {"package", "version", "delegate", "threads"}
    assert report["model_sha256"] == container.read(colours.candidate).model_sha256


def test_the_number_of_workers_changes_nothing(colours: Colours) -> None:
    reports = [
        validate(
            colours.candidate, colours.photos, reference=colours.reference, max_drop=0.01, workers=workers, threads=threads
        ).to_dict()
        for workers, threads in ((1, 1), (2, 1), (5, 1))
    ]
    assert without_timing(reports[0]) == without_timing(reports[1]) == without_timing(reports[2])


def test_an_undecided_verdict_says_how_many_images_would_decide(colours: Colours) -> None:
    report = validate(colours.candidate, colours.photos, reference=colours.reference, max_drop=0.002)
    assert report.verdict == "undecided"
    assert report.exit_code == 1
    assert report.images_to_decide is None or report.images_to_decide > 160
    assert "UNDECIDED" in report.to_text().splitlines()[-1]


def test_changed_answers_are_told_by_how_sure_the_reference_was(colours: Colours) -> None:
    report = validate(colours.candidate, colours.photos, reference=colours.reference)
    dataset = LabelledImages.open(colours.photos)
    before, after = by_hand(colours.reference, dataset), by_hand(colours.candidate, dataset)
    ranked = np.sort(before, axis=1)
    margin = {item.id: row[-1] - row[-2] for item, row in zip(dataset, ranked, strict=True)}
    changed = [item.id for item, a, b in zip(dataset, before, after, strict=True) if a.argmax() != b.argmax()]
    for flips in (report.changed, report.lost, report.won):
        assert [flip.margin for flip in flips] == [pytest.approx(margin[flip.image], abs=1e-6) for flip in flips]
    assert [flip.image for flip in report.changed] == changed != []

    sure = [image for image in changed if margin[image] > NEAR_TIE]
    found = [finding for finding in report.findings if finding.check == "sure_answers_changed"]
    assert report.to_dict()["outputs"]["colour"]["changed_by_margin"] == {
        "bound": NEAR_TIE,
        "above": len(sure),
        "largest": pytest.approx(max(margin[image] for image in changed)),
    }
    assert len(found) == (1 if sure else 0)
    assert f"{len(changed) - len(sure)}   where the reference was sure by at most {NEAR_TIE:g}" in report.to_text()


def test_a_changed_answer_that_was_no_near_tie_is_a_finding_with_its_name(colours: Colours, tmp_path: Path) -> None:
    shutil.copytree(colours.photos, tmp_path / "photos")
    Image.new("RGB", (SIZE, SIZE), (250, 5, 5)).save(tmp_path / "photos" / "red" / "surely-red.png")
    swapped = colours.write(colours.int8, "bgr.int8.tflite", input=InputSpec(width=SIZE, height=SIZE, color="bgr"))
    report = validate(swapped, tmp_path / "photos", reference=colours.reference)
    finding = next(finding for finding in report.findings if finding.check == "sure_answers_changed")
    assert finding.severity == "warning"
    assert "red/surely-red.png" in finding.message
    alike = validate(colours.candidate, tmp_path / "photos", reference=colours.reference)
    assert not any("surely-red" in finding.message for finding in alike.findings)


@pytest.mark.parametrize(
    ("scores", "background", "expected"),
    [
        ((0.7, 0.1, 0.2), None, 0.5),
        ((0.7, 0.1, 0.2), 0, 0.1),
        ((0.5, 0.5), None, 0.0),
        ((1.0,), None, np.nan),
        ((np.nan, 0.3), None, np.nan),
    ],
)
def test_the_margin_is_that_of_the_two_best_classes(scores: tuple[float, ...], background: int | None, expected: float) -> None:
    best = metrics.top_k(np.array(scores), 5, background=background)
    assert metrics.margin(np.array(scores), best) == pytest.approx(expected, nan_ok=True)


def test_without_labels_there_is_agreement_shift_and_changed_answers(colours: Colours) -> None:
    labelled = validate(colours.candidate, colours.photos, reference=colours.reference).to_dict()
    report = validate(colours.candidate, colours.photos, reference=colours.reference, unlabelled=True).to_dict()
    assert report["candidate"] == {"top1": None, "top5": None, "ece": None}
    assert report["drop"] is None and report["verdict"] is None
    for name in ("agreement", "probability_shift"):
        assert report[name] == labelled[name]
    assert [flip["image"] for flip in report["changed"]] == [flip["image"] for flip in labelled["changed"]] != []
    with pytest.raises(UsageError, match="has no labels"):
        validate(colours.candidate, colours.photos, reference=colours.reference, unlabelled=True, max_drop=0.01)


def store(colours: Colours, path: Path, dataset: LabelledImages) -> Path:
    model = edge.load(colours.reference)
    with ReferenceWriter(path, model.contract) as writer:
        for item in dataset:
            data = item.path.read_bytes()
            writer.add(hashlib.sha256(data).hexdigest(), model.predict(data))
    return path


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("image,species", "red"),
        ("filename,rot,blau", "1,0"),
        ("image,Labels", "red"),
        ("image,class_id", "3"),
        ("image,ground_truth", "red"),
    ],
)
def test_columns_that_give_no_score_are_never_silent(colours: Colours, tmp_path: Path, header: str, cells: str) -> None:
    lines = [f"{path},{cells}" for path in sorted((colours.photos / "red").iterdir())[:4]]
    (tmp_path / "m.csv").write_text("\n".join([header, *lines]))
    (found,) = (each for each in validate(colours.candidate, tmp_path / "m.csv").findings if each.check == "no_score")
    assert "no accuracy" in found.message and header.split(",")[1] in found.message and "--unlabelled" in found.message
    quiet = validate(colours.candidate, tmp_path / "m.csv", unlabelled=True)
    assert not any(each.check == "no_score" for each in quiet.findings)


def test_a_list_beside_the_pictures_is_named(colours: Colours, tmp_path: Path) -> None:
    shutil.copy(colours.photos / "red" / "00.png", tmp_path / "00.png")
    (tmp_path / "_annotations.csv").write_text("filename,class\n00.png,red\n")
    (found,) = (each for each in validate(colours.candidate, tmp_path).findings if each.check == "no_score")
    assert "_annotations.csv was not read" in found.message
    report = validate(colours.candidate, tmp_path / "_annotations.csv")
    assert report.headline is not None and report.headline.candidate is not None


def test_stored_outputs_serve_as_well_as_the_model_that_made_them(colours: Colours, tmp_path: Path) -> None:
    stored = store(colours, tmp_path / "reference.npz", LabelledImages.open(colours.photos))
    by_model = validate(colours.candidate, colours.photos, reference=colours.reference, max_drop=0.01).to_dict()
    by_file = validate(colours.candidate, colours.photos, reference=stored, max_drop=0.01).to_dict()
    assert by_file["reference"]["kind"] == "stored outputs"
    for name in ("drop", "agreement", "probability_shift", "lost", "won", "per_class", "verdict", "dataset_sha256"):
        assert by_file[name] == by_model[name]


def test_an_image_that_stored_outputs_do_not_know_is_an_error(colours: Colours, tmp_path: Path) -> None:
    stored = store(colours, tmp_path / "reference.npz", LabelledImages.open(colours.photos).subset(100))
    with pytest.raises(DatasetError, match=r"no stored outputs for image blue/\d+.png"):
        validate(colours.candidate, colours.photos, reference=stored)


def test_unreadable_images_are_listed_and_left_out_on_both_sides(colours: Colours, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(colours.photos, tmp_path / "photos"))
    whole = (photos / "red" / "00.png").read_bytes()
    (photos / "red" / "00.png").write_bytes(whole[: len(whole) // 2])
    report = validate(colours.candidate, photos, reference=colours.reference)
    assert report.images == 159
    assert list(report.unreadable) == ["red/00.png"]
    assert "decoded" in report.unreadable["red/00.png"]
    assert any(finding.check == "unreadable" for finding in report.findings)
    assert {row.label: row.images for row in report.headline.per_class} == {"blue": 40, "dark": 40, "green": 40, "red": 39}  # type: ignore[union-attr]
    (photos / "red" / "01.png").unlink()
    (photos / "red" / "01.png").symlink_to("nowhere.png")
    with pytest.raises(DatasetError, match=r"2 of the first .* at most 1.0% may: red/00.png, red/01.png"):
        validate(colours.candidate, photos, reference=colours.reference)
    assert validate(colours.candidate, photos, reference=colours.reference, max_unreadable=0.02).images == 158


def test_images_that_set_the_ranges_are_pointed_out(colours: Colours) -> None:
    items = LabelledImages.open(colours.photos).items[:3]
    seen = tuple((item.id, hashlib.sha256(item.path.read_bytes()).hexdigest()) for item in items)
    overlapping = colours.write(colours.int8, "overlapping.tflite", quantization=Quantization(representative=seen))
    found = [finding.message for finding in validate(overlapping, colours.photos).findings if finding.check == "overlap"]
    assert len(found) == 1 and found[0].startswith("3 of 160 images")


def test_answers_that_are_not_numbers_are_a_finding_and_wrong(colours: Colours) -> None:
    broken = colours.write(convert(network(bias=float("nan"))), "broken.tflite")
    report = validate(broken, colours.photos, reference=colours.reference, max_drop=0.01, diagnose="never")
    assert any(finding.check == "not_finite" and "160 images" in finding.message for finding in report.findings)
    assert report.to_dict()["candidate"]["top1"] == 0.0
    assert report.verdict == "fail"
    json.dumps(report.to_dict(), allow_nan=False)


def test_nothing_passes_against_a_reference_without_answers(
    colours: Colours, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every image that the reference answers with NaN is won by any candidate."""
    broken = colours.write(convert(network(bias=float("nan"))), "broken.tflite")
    stored = tmp_path / "broken.npz"
    assert cli.main(["outputs", str(broken), "--images", str(colours.photos), "--out", str(stored)]) == 0
    assert "160 of them are NaN or infinity" in capsys.readouterr().out
    report = edge.validate(colours.candidate, colours.photos, reference=stored, max_drop=0.01, diagnose="never")
    assert report.verdict == "undecided" and report.images_to_decide is None
    assert "UNDECIDED" in report.to_text() and "the reference has no answer to some images" in report.to_text()
    assert "sure by nan" not in report.to_text()
    merged = merge([report.to_dict()], 0.01)
    assert merged["verdict"] == "undecided" and merged["images_to_decide"] is None


def test_labels_that_features_cannot_use_are_said_so(colours: Colours) -> None:
    features = colours.write(colours.int8, "features.tflite", outputs=(OutputSpec(name="colour", kind="features"),))
    for unlabelled in (False, True):
        report = edge.validate(features, colours.photos, unlabelled=unlabelled)
        assert any(finding.check == "no_score" for finding in report.findings) is not unlabelled


def test_a_background_class_is_matched_by_label(colours: Colours) -> None:
    """The reference counts a background class, the candidate does not: 5 classes against 4."""
    import keras

    image = keras.Input((SIZE, SIZE, 3), batch_size=1)
    dense = keras.layers.Dense(5, activation="softmax")
    model = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(image)))
    weights = np.zeros((3, 5), np.float32)
    weights[[2, 1, 0], [1, 3, 4]] = 4.0
    dense.set_weights([weights, np.array([-9, 0, 0, 0, 0], np.float32)])
    spec = OutputSpec(name="colour", kind="probabilities", labels=("nothing", *LABELS), background_index=0)
    reference = colours.write(convert(model), "background.tflite", outputs=(spec,))
    aligned = validate(colours.candidate, colours.photos, reference=reference).to_dict()
    plain = validate(colours.candidate, colours.photos, reference=colours.reference).to_dict()
    assert aligned["drop"] == plain["drop"]
    assert aligned["probability_shift"] == pytest.approx(plain["probability_shift"], abs=1e-3)
    nameless = colours.write(convert(model), "nameless5.tflite", outputs=(OutputSpec(name="colour", kind="probabilities"),))
    with pytest.raises(ContractError, match="4 classes, the reference's 'colour' 5.*without labels"):
        validate(colours.candidate, colours.photos, reference=nameless)


@pytest.mark.parametrize("kind", ["features", "multilabel"])
def test_outputs_without_one_class(colours: Colours, kind: str, tmp_path: Path) -> None:
    specs = (OutputSpec(name="colour", kind=kind, labels=LABELS if kind == "multilabel" else ()),)
    candidate = colours.write(colours.int8, f"{kind}.int8.tflite", outputs=specs)
    reference = colours.write(colours.float32, f"{kind}.float32.tflite", outputs=specs)
    dataset = LabelledImages.open(colours.photos)
    manifest = tmp_path / "truth.csv"
    manifest.write_text("\n".join(["path,label", *(f"{item.path},{dataset.label_text(item)}" for item in dataset)]))
    output = validate(candidate, manifest, reference=reference).to_dict()["outputs"]["colour"]
    before, after = by_hand(reference, dataset), by_hand(candidate, dataset)
    if kind == "features":
        noise = np.square(before.astype(np.float64) - after).sum()
        assert output["sqnr_db"] == pytest.approx(10 * np.log10(np.square(before.astype(np.float64)).sum() / noise), abs=1e-4)
        assert 0.9 < output["cosine_min"] <= output["cosine"] <= 1.0
    else:
        red = next(row for row in output["per_label"] if row["label"] == "red")
        positive, truth = after[:, 3] >= 0.5, np.array([item.label == 3 for item in dataset])
        assert red["candidate"]["recall"] == pytest.approx((positive & truth).sum() / truth.sum())
        assert red["agreement"] == pytest.approx((positive == (before[:, 3] >= 0.5)).mean())


def test_regression_targets_come_from_the_manifest(tiny_two_outputs_flatbuffer: bytes, pack: Any, tmp_path: Path) -> None:
    spec = InputSpec(width=24, height=24)
    names = ("angle", "classes")
    outputs = (
        OutputSpec(name="angle", kind="regression"),
        OutputSpec(name="classes", kind="probabilities", labels=("a", "b", "c", "d")),
    )
    contract = Contract(name="two", input=spec, outputs=outputs, written_by="edgekit test")
    try:
        path = pack(tiny_two_outputs_flatbuffer, contract)
    except ContractError:  # the converter may have written them the other way round
        path = pack(tiny_two_outputs_flatbuffer, contract.replace(outputs=outputs[::-1]))
    model, random = edge.load(path), np.random.default_rng(5)
    targets, found, rows = [], [], []
    for i in range(30):
        Image.fromarray(random.integers(0, 255, (24, 24, 3), np.uint8)).save(tmp_path / f"{i:02}.png")
        found.append(float(model.predict(tmp_path / f"{i:02}.png")["angle"][0]))
        targets.append(found[-1] + random.normal(0, 0.1))
        rows.append(f"{i:02}.png,{'abcd'[i % 4]},{targets[-1]!r}")
    (tmp_path / "test.csv").write_text("\n".join(["path,label,angle", *rows]))
    report = validate(path, tmp_path / "test.csv", reference=path).to_dict()
    assert set(report["outputs"]) == set(names)
    angle = report["outputs"]["angle"]
    assert angle["candidate"]["mae"] == pytest.approx(np.abs(np.array(found) - targets).mean())
    assert angle["candidate"]["rmse"] == pytest.approx(np.sqrt(np.square(np.array(found) - targets).mean()))
    assert angle["candidate"]["r2"] == pytest.approx(metrics.r_squared(np.array(found), np.array(targets)))
    assert angle["mae_increase"] == {"mean": 0.0, "ci95": [0.0, 0.0], "method": "paired t interval"}
    (tmp_path / "test.csv").write_text("\n".join(["path,label,angle", *rows[:-1], "29.png,a,steep"]))
    with pytest.raises(DatasetError, match="29.png has 'steep' in column angle, expected a number"):
        validate(path, tmp_path / "test.csv")


def test_a_record_is_small_however_many_classes_there_are() -> None:
    from edge.validation.class_scores import ClassScorer

    spec = OutputSpec(name="classes", kind="probabilities")
    assert ClassScorer(spec, 1001, reference=spec, reference_size=1001).dtype.itemsize < 64


def test_the_data_sets_hash_covers_content_and_labels(colours: Colours, tmp_path: Path) -> None:
    dataset = LabelledImages.open(colours.photos)
    sha256 = np.stack([np.frombuffer(hashlib.sha256(item.path.read_bytes()).digest(), np.uint8) for item in dataset])
    plain = dataset_sha256(dataset, sha256)
    assert validate(colours.candidate, colours.photos).to_dict()["dataset_sha256"] == plain
    assert dataset_sha256(dataset, sha256[[1, 0, *range(2, len(sha256))]]) != plain
    assert dataset_sha256(LabelledImages.open(colours.photos, unlabelled=True), sha256) != plain


def test_a_p_value_beside_an_interval_without_zero_is_explained() -> None:
    few, clear = statistics.paired_interval(5, 0, 300), statistics.paired_interval(12, 0, 300)
    said = " ".join(validation_text.near_the_edge(statistics.mcnemar_exact(5, 0), few))
    assert "no contradiction" in said and "the verdict comes from the interval" in said
    assert list(validation_text.near_the_edge(statistics.mcnemar_exact(12, 0), clear)) == []
    assert list(validation_text.near_the_edge(1.0, statistics.paired_interval(2, 2, 300))) == []


def test_the_classes_that_changed_are_as_many_as_are_said(colours: Colours) -> None:
    report = validate(colours.candidate, colours.photos, reference=colours.reference, diagnose="never")
    assert report.headline is not None
    row = report.headline.per_class[0]
    rows = [replace(row, label=f"class{i}", reference=0.5, candidate=0.4, images=10, lost=1, won=i % 2) for i in range(9)]
    rows.append(replace(row, label="same", lost=0, won=0))
    head = replace(report.headline, per_class=tuple(rows))
    changed = [f"class{i}" for i in range(9)]
    lines = validation_text.render(replace(report, headline=head)).splitlines()
    start = next(i for i, line in enumerate(lines) if "classes that changed, the worst first" in line)
    assert "(9 of 10)" in lines[start]
    assert {line.split()[0] for line in lines[start + 1 : lines.index("", start)]} == set(changed)
