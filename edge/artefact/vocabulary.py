"""The words and limits of a contract, which its classes and its schema both go by."""

from __future__ import annotations

SCHEMA_VERSION = 3  # the newest that is read; what is written has the oldest that can express it

COLORS = ("rgb", "bgr", "gray")
FITS = ("stretch", "crop", "letterbox")
RESAMPLES = ("bilinear", "bicubic", "nearest", "lanczos")
UNFILTERED = ("bilinear", "nearest")  # what can be sampled without a low-pass filter
OUTPUT_KINDS = ("probabilities", "logits", "multilabel", "regression", "features")
CLASS_KINDS = ("probabilities", "logits")
LARGEST_SIDE = 8192  # pixels of an input
MOST_FRAMES = 256  # pictures stacked in one input
MOST_VALUES = 1 << 20  # classes of an output, and values along one axis of an extra input
IMAGE = "image"  # what the picture is called among several inputs

# Name -> mean and scale of ``(pixel - mean) / scale``, pixels 0..255.
RECIPES = {"inception": (127.5, 127.5), "raw": (0.0, 1.0), "unit": (0.0, 255.0)}
