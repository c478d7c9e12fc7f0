"""Where measured figures go: ``benchmarks/results/NAME.json``, one entry a run, with date, command and machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("edgekit", "tensorflow", "keras", "ai-edge-litert", "litert-quantizer", "tflite-runtime", "numpy", "pillow")


def append(name: str, figures: dict[str, Any]) -> Path:
    """Add ``figures`` as a new entry; earlier entries stay."""
    path = RESULTS / f"{name}.json"
    entries = json.loads(path.read_text()) if path.exists() else []
    command = " ".join([Path(sys.argv[0]).name, *(Path(a).name if os.sep in a else a for a in sys.argv[1:])])
    entries.append({"date": date.today().isoformat(), "command": command, "machine": _machine(), "figures": figures})
    path.write_text(json.dumps(entries, indent=1) + "\n")
    return path


def _machine() -> dict[str, Any]:
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"cpus": os.cpu_count(), "arch": platform.machine(), "python": platform.python_version(), "packages": installed}
