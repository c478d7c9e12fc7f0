"""The variants of a network that post-training quantization makes: their names, how their files are called, and which need photos."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import ConversionError

VARIANTS = ("float32", "float16", "dynamic", "int8", "int16x8")
CALIBRATED = ("int8", "int16x8")


def parse_variants(text: str) -> tuple[str, ...]:
    """``"all"`` or ``"int8,float32"`` as a tuple of known names; raises ConversionError listing them."""
    names = VARIANTS if text == "all" else tuple(name.strip() for name in text.split(",") if name.strip())
    check_variants(names)
    return names


def check_variants(names: Sequence[str]) -> None:
    """Raise ConversionError for names that are none of a variant, and for none at all."""
    unknown = [name for name in names if name not in VARIANTS]
    if unknown or not names:
        raise ConversionError(f"variants {', '.join(unknown) or '(none)'} not known, expected some of {', '.join(VARIANTS)}")


def file_name(name: str | None, source: Any) -> str:
    """Return a name that a file can have: the one that is given, else that of the model's file (or object)."""
    if name is None:
        stem = Path(source).resolve().name if isinstance(source, str | os.PathLike) else str(getattr(source, "name", "model"))
        name = re.sub(r"\.(keras|weights\.h5|h5|hdf5)$", "", stem)
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "model"
