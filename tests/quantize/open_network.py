"""A network's file that is well formed, has no weights, and whose configuration leaves everything open: loading it fails."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "class_name": "Functional",
    "config": {
        "name": "net",
        "layers": [
            {
                "class_name": "InputLayer",
                "name": "in",
                "config": {"name": "in", "batch_shape": [None, 8, 8, 3]},
                "inbound_nodes": [],
            },
            {
                "class_name": "Rescaling",
                "name": "out",
                "config": {"name": "out", "scale": 1.0},
                "inbound_nodes": [[["in", 0, 0, {}]]],
            },
        ],
        "output_layers": [["out", 0, 0]],
    },
}


def write(path: Path) -> Path:
    """Write it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(CONFIG))
        archive.writestr("model.weights.h5", b"")
    return path
