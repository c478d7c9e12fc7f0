"""Accelerators that edgekit recognises on a board and cannot use: what they are, how they show, and what can use them."""

from __future__ import annotations

from .records import CheckedOn, OtherAccelerator

_NOW = CheckedOn(date="2026-11-30")
_DRIVER = "hailo-ai/hailort-drivers, common/pcie_common.h"  # at 05807be the 10H's number has the name MERCURY
_AI = "raspberrypi/documentation, computers/ai/getting-started.adoc at 09e37ae"
_CAMERA = (
    "raspberrypi/documentation, accessories/ai-camera/model-conversion.adoc at 21372a3;"
    " imx500-all: raspberrypi.com/documentation/accessories/ai-camera.html"
)
_HEF = "networks compiled to HEF by Hailo's Dataflow Compiler, run with HailoRT, rpicam-apps or picamera2"

HAILO_8 = OtherAccelerator(
    name="hailo-8",
    title="Hailo-8 or Hailo-8L (AI Kit, AI HAT+)",
    # Both have one number; `hailortcli fw-control identify` tells them apart.
    identifiers=_NOW.verified(("PCI 1e60:2864",), _DRIVER),
    used_by=_NOW.verified(f"{_HEF} (package hailo-all)", _AI),
)

HAILO_10H = OtherAccelerator(
    name="hailo-10h",
    title="Hailo-10H (AI HAT+ 2)",
    identifiers=_NOW.verified(("PCI 1e60:45c4",), _DRIVER),
    used_by=_NOW.verified(f"{_HEF} (package hailo-h10-all, not beside hailo-all)", _AI),
)

HAILO_15L = OtherAccelerator(
    name="hailo-15l",
    title="Hailo-15L",
    identifiers=_NOW.verified(("PCI 1e60:43a2",), _DRIVER),
    used_by=_NOW.derived(
        "networks compiled to HEF by Hailo's Dataflow Compiler, run with HailoRT",
        f"as Hailo's other chips, whose driver it has: {_DRIVER}",
    ),
)

IMX500 = OtherAccelerator(
    name="imx500",
    title="Sony IMX500 (Raspberry Pi AI Camera)",
    identifiers=_NOW.verified(
        ("I2C imx500",), "kernel logs of Raspberry Pi 5 with the AI Camera: 'imx500 10-001a: …'; the driver itself was not opened"
    ),
    used_by=_NOW.verified(
        "networks packaged to RPK by Sony's converter and imx500-package, run in the camera with rpicam-apps or picamera2"
        " (package imx500-all)",
        _CAMERA,
    ),
)

OTHER_ACCELERATORS = (HAILO_8, HAILO_10H, HAILO_15L, IMX500)


def by_identifier(identifier: str) -> OtherAccelerator | None:
    """Return what has this identifier (``PCI 1e60:2864``), or None."""
    return next((known for known in OTHER_ACCELERATORS if identifier in known.identifiers.value), None)
