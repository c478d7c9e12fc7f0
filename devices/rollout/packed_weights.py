"""What the runtime's cache of packed weights means to a deployment: disk that it takes, memory that it saves.

The runtime itself decides on the board whether it can have one (`edge.runtime.weight_cache`); these are estimates from the size of a
model's file, made before anything is sent.
"""

from __future__ import annotations

MIB = 1 << 20
_RUNTIME = "ai-edge-litert"
_LEAST_BYTES = 4 * MIB
# XNNPACK packs the weights as large as they are in the file (measured on InceptionResNetV2: 0.97 of an int8 file, 1.0 of a float32 one).
_PACKED_SHARE = 1.1
# The file, the kernels' own copy of its weights, and the tensors between the ops.
_OWN_SHARE = 2.5
_PROCESS_BYTES = 60 * MIB


def disk_bytes(model_bytes: int, runtime: str) -> int:
    """Return what the cache of a model takes on the disk, 0 where that runtime makes none."""
    return int(model_bytes * _PACKED_SHARE) if runtime.startswith(_RUNTIME) and model_bytes >= _LEAST_BYTES else 0


def memory_bytes(model_bytes: int, runtime: str, *, free_disk_bytes: int) -> int:
    """Return what a board needs of memory to run a model: with a cache, what has to be in it for each answer.

    The packed weights are read for each answer; the system drops them where it must, and then reads them from the disk again.
    """
    cached = disk_bytes(model_bytes, runtime)
    share = _PACKED_SHARE if 0 < cached <= free_disk_bytes else _OWN_SHARE
    return int(model_bytes * share) + _PROCESS_BYTES
