"""Published files that edgekit knows by name: where they are, and what is known of them beforehand.

No size or hash is written here that its publisher does not give; the first one seen stands in for a missing hash.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import FetchError

HASHES = ("md5", "sha256", "sha384", "sha512")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One file. ``urls`` are tried in order. ``size`` in bytes; ``algorithm`` and ``digest`` (hexadecimal): None where its publisher
    does not say. ``hash_source``: who says. ``member``: what to import from an archive, None for a file that is none. ``then``: the
    command that takes it, with ``{file}`` in it.
    """

    name: str
    what: str
    urls: tuple[str, ...]
    filename: str
    size: int | None
    algorithm: str | None
    digest: str | None
    hash_source: str
    member: str | None
    then: str


_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/inception_resnet_v2/"
_KERAS_FILE = "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels"
_TENSORFLOW = "https://storage.googleapis.com/download.tensorflow.org/models/"

ENTRIES = (
    Published(
        name="keras-inception-resnet-v2",
        what="Keras' InceptionResNetV2, ImageNet weights with the top (1000 classes)",
        urls=(f"{_KERAS}{_KERAS_FILE}.h5",),
        filename=f"{_KERAS_FILE}.h5",
        size=None,
        algorithm="md5",
        digest="e693bd0210a403b3192acc6073ad2e96",
        hash_source="keras.applications",
        member=None,
        then="edgekit quantize {file} --architecture inception_resnet_v2 --input-shape 299x299 --preprocess inception --images DIR",
    ),
    Published(
        name="keras-inception-resnet-v2-notop",
        what="Keras' InceptionResNetV2, ImageNet weights without the top",
        urls=(f"{_KERAS}{_KERAS_FILE}_notop.h5",),
        filename=f"{_KERAS_FILE}_notop.h5",
        size=219_055_592,  # as its server reports it
        algorithm="md5",
        digest="d19885ff4a710c122648d3b5c3b684e4",
        hash_source="keras.applications",
        member=None,
        then="edgekit quantize {file} --architecture inception_resnet_v2 --headless --input-shape 299x299 --preprocess inception"
        " --images DIR",
    ),
    Published(
        name="inception-resnet-v2-tf",
        what="Open Model Zoo's inception-resnet-v2-tf: TF-slim's frozen graph, auxiliary head, 1001 classes",
        urls=(
            f"{_TENSORFLOW}tflite/model_zoo/upload_20180427/inception_resnet_v2_2018_04_27.tgz",
            "https://storage.openvinotoolkit.org/repositories/open_model_zoo/public/2022.1/inception-resnet-v2-tf/"
            "inception_resnet_v2_2018_04_27.tgz",
        ),
        filename="inception_resnet_v2_2018_04_27.tgz",
        size=225_882_079,
        algorithm="sha384",
        digest="865828b072abc3b5e9d55d7949d39f8df59453f4673de0745182ea5c2489b1901f74e9288863052a2d4249a814952b07",
        hash_source="Open Model Zoo's model.yml",
        member="inception_resnet_v2.pb",
        then="edgekit import {file} --as slim --labels LABELS --images DIR",
    ),
    Published(
        name="slim-inception-resnet-v2",
        what="TF-slim's checkpoint of 2016-08-30: the whole network with both heads, 1001 classes",
        urls=(f"{_TENSORFLOW}inception_resnet_v2_2016_08_30.tar.gz",),
        filename="inception_resnet_v2_2016_08_30.tar.gz",
        size=None,
        algorithm=None,
        digest=None,
        hash_source="",
        member="inception_resnet_v2_2016_08_30.ckpt",
        then="edgekit import {file} --as slim --output predictions --labels LABELS",
    ),
)


def get(name: str) -> Published:
    """Return an entry by name; raises FetchError listing all."""
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    raise FetchError(f"{name!r} is not in the catalogue; it has {', '.join(entry.name for entry in ENTRIES)}")
