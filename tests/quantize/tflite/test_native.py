"""Native code that ends its process ends a process of ours, never the job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import quantize
from edge.artefact import graph
from quantize.errors import ConversionError
from quantize.tflite import calibrated, conversion

pytestmark = pytest.mark.converts


@pytest.mark.slow
def test_an_untrained_network_on_which_the_reference_kernels_abort_is_quantized(tmp_path: Path) -> None:
    import keras

    random = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / f"{number}.png")
    keras.utils.set_random_seed(0)
    network = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=4)
    source = quantize.load(network, name="untrained", preprocess="inception", labels=list("abcd"))
    photos = quantize.RepresentativeDataset.from_folder(tmp_path, count=10, contract=source.contract)
    made = list(quantize.post_training_variants(source, photos, ["int8"], config=quantize.PtqConfig(ranges="minmax")))
    kernels = [recorded.kernels for recorded in made[0].contract.golden[0].outputs]
    notes = [note for note in made[0].contract.notes if "reference kernels" in note]
    assert kernels == ["optimized"]
    assert len(notes) == 1 and "SIGABRT" in notes[0], notes


def test_a_file_that_ends_the_quantizers_process_is_an_error_and_the_next_one_passes(tmp_path: Path) -> None:
    """Offsets that lead out of the file: TensorFlow follows them."""
    import keras

    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    )
    source = quantize.load(network, name="small", preprocess="inception", labels=["a", "b"])
    conversion.export_saved_model(source, tmp_path)
    reference = conversion.convert_float(tmp_path, "float32")
    ranged = calibrated.write_ranges(reference, dict.fromkeys(calibrated.activation_names(reference), (-1.0, 1.0)))
    damaged = bytearray(ranged)
    damaged[:4] = b"\xf0\xff\xff\x7f"
    with pytest.raises(ConversionError, match="ended its process .SIG"):
        conversion.quantize_int8(bytes(damaged))
    assert graph.read(conversion.quantize_int8(ranged)).ops


def test_calibration_draws_its_images_apart_and_survives_what_goes_wrong_with_them(tmp_path: Path) -> None:
    import keras

    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    )
    source = quantize.load(network, name="small", preprocess="inception", labels=["a", "b"])
    conversion.export_saved_model(source, tmp_path)
    reference = conversion.convert_float(tmp_path, "float32")
    images = [np.full((1, 8, 8, 3), value, np.float32) for value in (-1.0, 0.25, 1.0)]

    def unreadable() -> Iterator[np.ndarray]:
        yield images[0]
        raise OSError("no such picture")

    with pytest.raises(OSError, match="no such picture"):
        conversion.calibrate(reference, unreadable())
    with pytest.raises(ConversionError, match="calibrator refused the network or an image"):
        conversion.calibrate(reference, [np.zeros((1, 9, 9, 5), np.float32)])
    with pytest.raises(ConversionError, match="ended its process .SIG"):
        conversion.calibrate(b"\xf0\xff\xff\x7f" + reference[4:], images)
    made = conversion.calibrate(reference, iter(images))
    assert made == conversion._calibrate(reference, iter(images)), "as in this process"
    picture = graph.read(made).main.inputs[0]
    assert calibrated.read_ranges(made)[graph.read(made).tensors[picture].name] == (-1.0, 1.0)
