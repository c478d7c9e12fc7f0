"""Programs that nobody here wrote open our files: MediaPipe's ImageClassifier and the last tflite-runtime, each in an environment
of its own (neither can share one with edgekit's workstation extra)."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

import edge

pytestmark = [pytest.mark.slow, pytest.mark.wheel]

MEDIAPIPE = """
import json, sys
import mediapipe
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision
options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=sys.argv[1]), max_results=1)
answers = []
with vision.ImageClassifier.create_from_options(options) as classifier:
    for image in sys.argv[2:]:
        answers.append(classifier.classify(mediapipe.Image.create_from_file(image)).classifications[0].categories[0].category_name)
print(json.dumps(answers))
"""

TFLITE_RUNTIME = """
import json, sys
import edge
model = edge.load(sys.argv[1], kernels=sys.argv[2])
assert model.runtime.package == "tflite-runtime", model.runtime
answers = [model.invoke(model.preprocess(image)) for image in sys.argv[3:]]
print(json.dumps([{name: array.tolist() for name, array in answer.items()} for answer in answers]))
"""


def _environment(folder: Path, *packages: str) -> Path:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{' '.join(packages)} cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
    return python


def _answers(python: Path, script: str, *arguments: str | Path) -> list[object]:
    done = subprocess.run([python, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[object] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def digits(digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty test digits at 64 x 64 RGB: MediaPipe wants colour, and shrinks and grows pictures in its own way."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("digits-rgb")
    files = sorted((digits_folder / "test").glob("*/*.png"))[::40][:20]
    for file in files:
        Image.open(file).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR).save(
            folder / f"{file.parent.name}-{file.name}"
        )
    return sorted(folder.iterdir())


def test_mediapipe_opens_float32_and_uint8_files(small_artefacts: dict[str, Path], digits: list[Path], tmp_path: Path) -> None:
    python = _environment(tmp_path / "mediapipe", "mediapipe==1.2.*" if sys.version_info < (3, 13) else "mediapipe")
    for variant in ("float32", "uint8"):
        model = edge.load(small_artefacts[variant])
        ours = [model.classify(image).top(1)[0].label for image in digits]
        theirs = _answers(python, MEDIAPIPE, small_artefacts[variant], *digits)
        agreement = np.mean([a == b for a, b in zip(ours, theirs, strict=True)])
        # They resize differently, which a borderline digit may feel; a wrong normalisation or label order would leave one in ten.
        assert agreement >= 0.9, (variant, ours, theirs)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="tflite-runtime has no wheel for Python 3.12 and later")
def test_tflite_runtime_runs_what_was_made_for_it(small_artefacts: dict[str, Path], digits: list[Path], tmp_path: Path) -> None:
    python = _environment(tmp_path / "tflite", "tflite-runtime==2.14.0", "numpy<2", "pillow")
    site = next((tmp_path / "tflite").glob("lib/python*/site-packages"))
    (site / "edgekit.pth").write_text(f"{Path(edge.__file__).parents[1]}\n")
    # Its integer kernels on x86 are not ai-edge-litert's; the reference kernels of both are exact, and so must be equal.
    model = edge.load(small_artefacts["int8"], kernels="reference")
    ours = [{name: array.tolist() for name, array in model.invoke(model.preprocess(image)).items()} for image in digits]
    assert _answers(python, TFLITE_RUNTIME, small_artefacts["int8"], "reference", *digits) == ours
    _answers(python, TFLITE_RUNTIME, small_artefacts["dynamic"], "optimized", *digits)
