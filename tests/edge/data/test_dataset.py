from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from devices.measure import images
from edge.cli import main
from edge.data.dataset import LabelledImages, match_labels
from edge.errors import DatasetError
from edge.validation.findings import about_images

LABELS = ("red fox", "Sea_Lion", "owl")


def touch(root: Path, *names: str) -> Path:
    """Files by name; a dataset never looks inside."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_class_folders_are_matched_to_the_models_labels(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Red_Fox/b.JPG",
        "Red_Fox/deeper/a.png",
        "sea lion/x.webp",
        "owl/y.bmp",
        "owl/notes.txt",
        "owl/._y.jpg",
        ".git/z.jpg",
    )
    found = LabelledImages.open(tmp_path, labels=LABELS)
    assert [(item.id, item.label) for item in found] == [
        ("Red_Fox/b.JPG", 0),
        ("Red_Fox/deeper/a.png", 0),
        ("owl/y.bmp", 2),
        ("sea lion/x.webp", 1),
    ]
    assert found.labels == LABELS
    assert found.counts() == {0: 2, 1: 1, 2: 1}
    assert found.label_text(found.items[0]) == "red fox"


def test_without_labels_the_sorted_folders_are_the_classes(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.jpg", "a/1.jpg")
    found = LabelledImages.open(tmp_path)
    assert found.labels == ("a", "b")
    assert [item.label for item in found] == [0, 1]


def test_numbered_folders_are_class_numbers_not_text(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}/x.jpg" for i in range(12)))
    found = LabelledImages.open(tmp_path, labels=[f"class {i}" for i in range(20)])
    assert {item.id: item.label for item in found} == {f"{i}/x.jpg": i for i in range(12)}
    with pytest.raises(DatasetError, match="none of the model's: 10, 11"):
        LabelledImages.open(tmp_path, labels=[f"class {i}" for i in range(10)])


def test_labels_that_are_numbers_are_names_first(tmp_path: Path) -> None:
    touch(tmp_path, "7/x.jpg", "8/x.jpg")
    found = LabelledImages.open(tmp_path, labels=["9", "8", "7"])
    assert [item.label for item in found] == [2, 1]


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    touch(tmp_path, "2.jpg", "1.jpg")
    found = LabelledImages.open(tmp_path, labels=LABELS)
    assert [item.id for item in found] == ["1.jpg", "2.jpg"]
    assert not found.labelled


def test_unlabelled_ignores_folder_names(tmp_path: Path) -> None:
    touch(tmp_path, "whatever/1.jpg", "0.jpg")
    assert len(LabelledImages.open(tmp_path, labels=LABELS, unlabelled=True)) == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["wolf/1.jpg", "owl/1.jpg"], "1 of 2 classes are none of the model's: wolf.*red fox, Sea_Lion, owl"),
        (["owl/1.jpg", "2.jpg"], "1 images lie beside the class folders"),
        (["owl/1.txt"], "no images here"),
        (["owl/1.jpg", "OWL/1.jpg"], "both are the model's class 'owl'"),
    ],
)
def test_folders_that_do_not_fit_are_refused(tmp_path: Path, files: list[str], message: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(DatasetError, match=message):
        LabelledImages.open(tmp_path, labels=LABELS)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        LabelledImages.open(tmp_path / "nowhere")


def test_an_ambiguous_label_is_not_guessed() -> None:
    with pytest.raises(DatasetError, match=r"2 of the model's classes \(134, 517\)"):
        match_labels(["crane"], ["x"] * 134 + ["crane"] + ["y"] * 382 + ["crane"], where="photos")


def test_links_out_of_the_folder_are_never_followed_in_silence(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/secret.jpg", "photos/owl/1.jpg")
    (tmp_path / "photos/owl/2.jpg").symlink_to(tmp_path / "photos/owl/1.jpg")
    assert len(LabelledImages.open(tmp_path / "photos")) == 2
    (tmp_path / "photos/owl/3.jpg").symlink_to(tmp_path / "elsewhere/secret.jpg")
    with pytest.raises(DatasetError, match="leads out of the dataset"):
        LabelledImages.open(tmp_path / "photos")
    assert len(LabelledImages.open(tmp_path / "photos", follow_links=True)) == 3


def test_a_link_that_goes_round_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "owl/1.jpg")
    (tmp_path / "owl/again").symlink_to(tmp_path / "owl")
    with pytest.raises(DatasetError, match="round for ever"):
        LabelledImages.open(tmp_path)


def test_manifest_with_labels_and_other_columns(tmp_path: Path) -> None:
    manifest = tmp_path / "test.csv"
    manifest.write_text("file,label,angle\nb.jpg,owl,0.5\n\na.jpg,red fox,-1\n", encoding="utf-8-sig")
    found = LabelledImages.open(manifest, labels=LABELS)
    assert [(item.id, item.label, item.targets) for item in found] == [("a.jpg", 0, ("-1",)), ("b.jpg", 2, ("0.5",))]
    assert found.items[0].path == tmp_path / "a.jpg"
    assert found.column("angle") == ("-1", "0.5")
    assert found.column("label") is None
    assert LabelledImages.open(manifest, unlabelled=True).column("label") == ("red fox", "owl")


def test_manifest_without_header_and_without_labels(tmp_path: Path) -> None:
    manifest = tmp_path / "test.csv"
    manifest.write_text("b.jpg,owl\na.jpg,red fox\n")
    assert [item.label for item in LabelledImages.open(manifest, labels=LABELS)] == [0, 2]
    manifest.write_text("image\na.jpg\nb.jpg\n")
    assert not LabelledImages.open(manifest, labels=LABELS).labelled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("path,label\n", "a header and no rows"),
        ("path,label\na.jpg\n", "line 2 has 1 columns, expected 2"),
        ("path,label\na.jpg,owl\nb.jpg,owl\na.jpg,owl\n", r"line 4 lists a.jpg again \(first on line 2\)"),
        ("path,label\na.jpg,\n", "no label"),
        ("path,label,label\na.jpg,owl,owl\n", "same name"),
        ("path,label\na.jpg,dragon\n", "none of the model's: dragon"),
    ],
)
def test_manifests_that_cannot_be_right_are_refused(tmp_path: Path, text: str, message: str) -> None:
    manifest = tmp_path / "test.csv"
    manifest.write_text(text)
    with pytest.raises(DatasetError, match=message):
        LabelledImages.open(manifest, labels=LABELS)


def test_binary_files_are_no_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "test.csv"
    manifest.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DatasetError, match="UTF-8"):
        LabelledImages.open(manifest)


def test_subset_is_spread_over_all_classes_and_always_the_same(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{label}/{i:02}.jpg" for label in ("red fox", "owl") for i in range(20)))
    found = LabelledImages.open(tmp_path, labels=LABELS)
    assert found.subset(10).counts() == {0: 5, 2: 5}
    assert found.subset(10) == found.subset(10)
    assert found.subset(1000) is found
    with pytest.raises(DatasetError, match="at least 1"):
        found.subset(0)


def test_pictures_without_their_kind_in_their_name_are_named_too(tmp_path: Path) -> None:
    touch(tmp_path, "owl/1.jpg", "owl/notes.txt", "owl/model.bin")
    os.mkfifo(tmp_path / "owl" / "pipe")
    jpeg, avif = b"\xff\xd8\xff\xe0" + bytes(20), b"\0\0\0\x20ftypavif" + bytes(20)
    for name, head in (("IMG_1", jpeg), ("2.jpg_large", jpeg), ("3", avif), ("4.txt", jpeg)):
        (tmp_path / "owl" / name).write_bytes(head)
    dataset = LabelledImages.open(tmp_path)
    assert dataset.skipped == ("owl/2.jpg_large", "owl/3", "owl/IMG_1")
    found = {one.check: one.message for one in about_images(dataset, {}, np.zeros(1, [("sha256", "u1", 32)]), 1)}
    assert "3 pictures of kinds that are not read (.jpg_large, no ending) are left out" in found["skipped"]
    assert found["skipped"].endswith("end in their kind, such as .jpg")
    listed = images.listed(tmp_path, None)
    assert listed.left_out == dataset.skipped and listed.names == ("owl/1.jpg",)


def test_outputs_and_compare_name_what_they_leave_out(
    tiny_float_artefact: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = shutil.copytree(tiny_images, tmp_path / "photos")
    (photos / "cat" / "9.png").rename(photos / "cat" / "9")
    (photos / "dog" / "9.jp2").write_bytes(b"")
    model = str(tiny_float_artefact)
    assert main(["outputs", model, "--images", str(photos), "--out", str(tmp_path / "a.npz")]) == 0
    assert "2 pictures of kinds that are not read (.jp2, no ending) are left out" in capsys.readouterr().out
    assert main(["compare", model, model, "--images", str(photos), "--no-latency"]) == 0
    assert "2 pictures of kinds that are not read" in capsys.readouterr().err


def test_pictures_of_other_kinds_are_counted_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "owl/1.jpg", "owl/2.PSD", "owl/3.jp2", "owl/.4.psd", "owl/notes.txt")
    dataset = LabelledImages.open(tmp_path)
    assert [item.id for item in dataset] == ["owl/1.jpg"]
    assert dataset.skipped == ("owl/2.PSD", "owl/3.jp2")
    found = {one.check: one.message for one in about_images(dataset, {}, np.zeros(1, [("sha256", "u1", 32)]), 1)}
    assert found["skipped"].startswith("2 pictures of kinds that are not read (.jp2, .psd) are left out: owl/2.PSD, owl/3.jp2")
    (tmp_path / "owl" / "1.jpg").unlink()
    with pytest.raises(
        DatasetError, match=r"no images here \(2 of other kinds: owl/2\.PSD, owl/3\.jp2; convert them to JPEG or PNG\)"
    ):
        LabelledImages.open(tmp_path)


FLAGS = re.compile(r"--[a-z-]+")


@pytest.mark.parametrize("command", ["validate", "compare", "outputs", "quantize", "explain", "tune", "qat", "import", "watch"])
def test_a_command_advises_only_flags_that_it_has(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    known = set(FLAGS.findall(capsys.readouterr().out))
    touch(tmp_path, "elsewhere/a.png", "loose/cat/a.png", "loose/b.png", "numbers/1/a.png")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "cat").symlink_to(tmp_path / "elsewhere")
    wrong: tuple[Callable[[], object], ...] = (
        lambda: LabelledImages.open(tmp_path / "linked"),
        lambda: LabelledImages.open(tmp_path / "loose"),
        lambda: LabelledImages.open(tmp_path / "numbers", labels=("none", "cat", "dog"), background=0),
        lambda: LabelledImages.open(tmp_path / "loose" / "cat" / "..", labels=("dog",)),
    )
    for read in wrong:
        with pytest.raises(DatasetError) as found:
            read()
        told = found.value.told(known)
        assert set(FLAGS.findall(told)) == set(FLAGS.findall(str(found.value))) & known
        assert "; " in told  # there is always something to do


def test_linked_class_folders_are_read_where_the_command_is_told_so(
    tiny_int8_artefact: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for folder in tiny_images.iterdir():
        (tmp_path / "photos" / folder.name).symlink_to(folder)
    commands = (
        ["compare", str(tiny_int8_artefact), str(tiny_int8_artefact), "--no-latency"],
        ["outputs", str(tiny_int8_artefact), "--out", str(tmp_path / "answers.npz")],
        ["validate", str(tiny_int8_artefact), "--diagnose", "never"],
    )
    for command in commands:
        assert main([*command, "--images", str(tmp_path / "photos")]) == 2
        assert "allow it with --follow-links or list the pictures in a manifest (.csv)" in capsys.readouterr().err
        assert main([*command, "--images", str(tmp_path / "photos"), "--follow-links"]) == 0


def test_labels_of_very_many_digits_are_names(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\na.png,{'1' * 400}\nb.png,{'2' * 5000}\n")
    dataset = LabelledImages.open(tmp_path / "list.csv")
    assert dataset.labels == ("1" * 400, "2" * 5000)
    with pytest.raises(DatasetError, match="none of the model's"):
        LabelledImages.open(tmp_path / "list.csv", labels=["cat", "dog"])
