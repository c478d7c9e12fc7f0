"""How the files of a network are called."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any


def file_name(name: str | None, source: Any) -> str:
    """Return a name that a file can have: the one that is given, else that of the model's file (or object)."""
    if name is None:
        stem = Path(source).resolve().name if isinstance(source, str | os.PathLike) else str(getattr(source, "name", "model"))
        name = re.sub(r"\.(keras|weights\.h5|h5|hdf5)$", "", stem)
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "model"
