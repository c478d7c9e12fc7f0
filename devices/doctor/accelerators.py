"""Accelerators on a board, usable or not, and containers that were not given them, as ``edgekit doctor`` sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..boards.coral_end import COMMUNITY_DRIVER, COMMUNITY_LIBRARY, END_OF_LIFE
from ..boards.other_accelerators import by_identifier
from .probe import BoardFacts
from .symptoms import Symptom, note, warning

_GASKET_LAST = "1.0-18"  # Google's last gasket-dkms
_GASKET_ENDS_AT = (6, 12)  # google/gasket-driver#36 and #52: no_llseek is gone


def findings(facts: BoardFacts) -> Iterator[Symptom]:
    """Yield what is to be known about accelerators and about the container, if it is one."""
    yield from _edgetpu(facts)
    yield from _others(facts)
    container = facts.first("container")
    if container is not None:
        yield note(
            "container",
            f"this is a {container} container: temperatures, clocks and buses are its host's; it has the devices it was given only",
        )


def _edgetpu(facts: BoardFacts) -> Iterator[Symptom]:
    usb, pci, apex = facts.answers.get("edgetpu_usb", ()), facts.answers.get("edgetpu_pci", ()), facts.answers.get("apex", ())
    if not (usb or pci or apex):
        return
    yield note("edgetpu", f"an Edge TPU is there; Coral is at its end of life {END_OF_LIFE}")
    if facts.first("libedgetpu") is None:
        yield warning(
            "edgetpu",
            f"an Edge TPU is there, but not libedgetpu; Google's is too old for current interpreters, take {COMMUNITY_LIBRARY}",
            "sudo dpkg -i libedgetpu1-std_*.deb",
        )
    for answer in usb:
        yield from _usb(answer, facts)
    if pci and not apex:
        yield _without_node(facts, bound="apex" in (pci[0].split()[1:2] or [""])[0])
    for answer in apex:
        if answer.endswith("denied"):
            yield warning(
                "edgetpu", f"{answer.split()[0]} may not be used by {facts.first('user')}", "sudo usermod -aG apex $USER"
            )


def _usb(answer: str, facts: BoardFacts) -> Iterator[Symptom]:
    node, container = next((part for part in answer.split() if part.startswith("/dev/")), "its node"), facts.first("container")
    if answer.endswith("absent") and container is not None:
        yield warning(
            "edgetpu",
            f"the USB accelerator is on the bus, but this {container} container was not given {node} (the number changes at its"
            " first use: give it the whole bus)",
            "docker run --device /dev/bus/usb --device-cgroup-rule 'c 189:* rmw' …",
        )
    elif answer.endswith("absent"):
        yield warning("edgetpu", f"the USB accelerator is on the bus, but {node} is missing: unplug it and plug it in again")
    elif answer.endswith("denied"):
        yield warning(
            "edgetpu",
            f"the USB accelerator ({answer}) may not be used by {facts.first('user')}",
            "sudo usermod -aG plugdev $USER",
        )
    speed = answer.split()[1:2]
    if speed and speed[0].isdigit() and int(speed[0]) < 5000:
        yield warning("edgetpu", f"the USB accelerator runs at {speed[0]} Mbit/s: plug it into a USB 3 (blue) socket")


def _without_node(facts: BoardFacts, *, bound: bool) -> Symptom:
    container, kernel, installed = facts.first("container"), facts.first("kernel") or "", facts.first("gasket")
    if container is not None and bound:
        return warning(
            "edgetpu",
            f"an Edge TPU on PCIe is there with its driver, but this {container} container was not given /dev/apex_0",
            "docker run --device /dev/apex_0 …",
        )
    if _version(kernel) < _GASKET_ENDS_AT:
        return warning(
            "edgetpu",
            "an Edge TPU on PCIe is there, but its driver is not loaded",
            "sudo apt-get install gasket-dkms; sudo modprobe apex",
        )
    has = f" ({installed} is installed)" if installed else ""
    return warning(
        "edgetpu",
        f"an Edge TPU on PCIe is there, but its driver is not loaded{has}: Google's last gasket-dkms, {_GASKET_LAST}, does not build"
        f" on kernel 6.12 and later, and this is {kernel}; take {COMMUNITY_DRIVER}",
        "sudo dpkg -i gasket-dkms_*.deb; sudo modprobe apex",
    )


def _others(facts: BoardFacts) -> Iterator[Symptom]:
    container = facts.first("container")
    for answer in dict.fromkeys(facts.answers.get("accelerator", ())):
        identifier, driver = " ".join(answer.split()[:2]), " ".join(answer.split()[2:])
        known = by_identifier(identifier)
        if known is None:
            yield note("accelerator", f"an accelerator that edgekit does not know is there ({identifier}); edgekit cannot use it")
            continue
        yield note(
            "accelerator", f"{known.title} is present; edgekit cannot use it, and runs on the CPU. It takes {known.used_by.value}"
        )
        if driver and container is not None and "hailo" not in facts.answers:
            yield note(
                "accelerator", f"this {container} container was not given /dev/hailo0", "docker run --device /dev/hailo0 …"
            )


def _version(kernel: str) -> tuple[int, int]:
    match = re.search(r"(\d+)\.(\d+)", kernel)
    return (int(match[1]), int(match[2])) if match else (0, 0)
