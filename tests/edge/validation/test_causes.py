"""Images that are fed or labelled wrongly: the cause is named, and nothing passes meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge
from edge.artefact.contract import InputSpec, OutputSpec
from edge.data.dataset import LabelledImages
from edge.errors import DatasetError
from edge.validation.run import validate
from tests.edge.colours import LABELS, SIZE, Colours

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_model_fed_wrongly_fails_and_the_cause_is_named(colours: Colours) -> None:
    swapped = colours.write(colours.int8, "swapped.int8.tflite", input=InputSpec(width=SIZE, height=SIZE, color="bgr"))
    report = validate(swapped, colours.photos, reference=colours.reference, max_drop=0.01)
    assert report.verdict == "fail"
    assert report.exit_code == 1
    found = {finding.check: finding.message for finding in report.findings}
    assert "preprocessing" in found and "large_drop" in found
    messages = " ".join(finding.message for finding in report.findings)
    assert "color bgr against rgb" in messages
    assert "with channels in the order rgb top-1 is" in messages
    assert report.headline is not None and report.headline.candidate is not None
    assert report.headline.candidate.top1 < 0.7  # reported, never applied


def test_a_wrong_scale_is_found_without_a_reference(colours: Colours) -> None:
    spec = InputSpec(width=SIZE, height=SIZE, mean=(0.0,) * 3, scale=(255.0,) * 3)
    scaled = colours.write(colours.float32, "scaled.float32.tflite", input=spec)
    report = validate(scaled, colours.photos, diagnose="always")
    assert any("with pixels scaled to -1..1 top-1 is" in finding.message for finding in report.findings)
    silent = validate(scaled, colours.photos, diagnose="never")
    assert not any("top-1 is" in finding.message for finding in silent.findings)


def test_labels_off_by_one_are_found(colours: Colours, tmp_path: Path) -> None:
    dataset = LabelledImages.open(colours.photos)
    rows = [f"{item.path},{(item.label + 1) % 4}" for item in dataset if item.label is not None]
    manifest = tmp_path / "shifted.csv"
    manifest.write_text("\n".join(["path,label", *rows]))
    report = validate(colours.candidate, manifest)
    assert any("class numbers are shifted by one" in finding.message for finding in report.findings)


def test_nothing_passes_while_both_models_are_labelled_wrongly(colours: Colours) -> None:
    """They lose nothing against one another, whatever quantization did."""
    spec = OutputSpec(name="colour", kind="probabilities", labels=(*LABELS[1:], LABELS[0]))
    both = [colours.write(data, f"turned.{i}.tflite", outputs=(spec,)) for i, data in enumerate((colours.int8, colours.float32))]
    report = edge.validate(both[0], colours.photos, reference=edge.load(both[1]), max_drop=0.2)
    assert report.verdict == "undecided" and report.images_to_decide is None
    assert "fed or labelled wrongly, as the finding says" in report.to_text()
    assert edge.validate(both[0], colours.photos, reference=edge.load(both[1]), max_drop=0.2, diagnose="never").verdict == "pass"


def test_folders_in_the_order_of_a_model_without_labels_are_not_guessed(colours: Colours) -> None:
    nameless = colours.write(colours.int8, "nameless.tflite", outputs=(OutputSpec(name="colour", kind="probabilities"),))
    with pytest.raises(DatasetError, match="the model has no labels"):
        validate(nameless, colours.photos)
    assert validate(nameless, colours.photos, unlabelled=True).images == 160
