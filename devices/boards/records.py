"""The record types of the profiles: every fact with where it is from, and ``None`` where nothing is known.

No field has a default. A fact that nobody could check is absent, never assumed: a board that is added in a hurry must not
silently get another board's numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

# Covariant, as a fact is read only: a fact of two texts is a fact of some texts.
Value = TypeVar("Value", covariant=True)
_Given = TypeVar("_Given")
Basis = Literal["verified", "derived", "unopened"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact(Generic[Value]):
    """A value, whether it was read in ``source`` (verified), follows from it (derived) or is from memory (unopened: nobody has opened
    a source that says it; ``source`` says what is missing), and the day.

    ``checked`` is the day on which the source was looked at, or for, as in 2026-11-30, or None where nobody wrote it down.
    """

    value: Value
    basis: Basis
    source: str
    checked: str | None


def verified(value: _Given, source: str, checked: str | None = None) -> Fact[_Given]:
    """Return a fact that stands in ``source`` as it is."""
    return Fact(value=value, basis="verified", source=source, checked=checked)


def derived(value: _Given, source: str, checked: str | None = None) -> Fact[_Given]:
    """Return a fact that follows from ``source``, which says how."""
    return Fact(value=value, basis="derived", source=source, checked=checked)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOn:
    """Makes facts whose sources were looked at on one day."""

    date: str

    def verified(self, value: _Given, source: str) -> Fact[_Given]:
        return verified(value, source, self.date)

    def derived(self, value: _Given, source: str) -> Fact[_Given]:
        return derived(value, source, self.date)

    def unopened(self, value: _Given, source: str) -> Fact[_Given]:
        """Return a fact from memory. source: what nobody could open, or find."""
        return Fact(value=value, basis="unopened", source=source, checked=self.date)


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuCluster:
    """Equal cores. ``clock_mhz`` is the stock clock, ``boost_mhz`` a higher one that some revisions reach."""

    core: str
    count: int
    clock_mhz: int | None
    boost_mhz: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalLimit:
    """What happens from ``celsius`` on."""

    celsius: float
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """An interpreter package that pip finds for an operating system: versions are inclusive."""

    package: str
    arch: str
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemProfile:
    """An operating system: its Python and glibc decide which interpreter wheel can be installed."""

    name: str
    title: str
    python: Fact[str]
    glibc: Fact[str]
    wheels: Fact[tuple[Wheel, ...]]

    @property
    def runs_edgekit(self) -> bool:
        """Whether its Python is 3.11 or later and an interpreter exists for it."""
        major, minor = (int(part) for part in self.python.value.split(".")[:2])
        return (major, minor) >= (3, 11) and bool(self.wheels.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardProfile:
    """One board. Sizes in MiB, clocks in MHz, rates in 1e6 bytes per second.

    ``memory_mib`` lists the sizes the board is sold in, smallest first. ``memcpy_mb_s`` counts every byte once though it is read
    and written. ``edgetpu`` is a built-in Edge TPU and the link it hangs on. A fact whose value is ``None`` says that the board
    has no such thing; ``None`` instead of a fact says that nobody knows. ``device_tree`` lists the names by which the board is
    recognised: each is the whole of ``/proc/device-tree/model`` (but for a revision at its end) or one of the names in
    ``compatible``. ``end_of_life`` says since when it is not made any more. ``unreachable`` says why edgekit can never run on it.
    """

    name: str
    title: str
    unreachable: str | None
    soc: Fact[str] | None
    arch: Fact[str] | None
    cpu: Fact[tuple[CpuCluster, ...]] | None
    dot_product: Fact[bool] | None
    fp16_arithmetic: Fact[bool] | None
    caches: Fact[str] | None
    memory_mib: Fact[tuple[int, ...]] | None
    memory_type: Fact[str] | None
    memcpy_mb_s: Fact[int] | None
    memset_mb_s: Fact[int] | None
    usb: Fact[str] | None
    pcie: Fact[str | None] | None
    edgetpu: Fact[str | None] | None
    thermal: Fact[tuple[ThermalLimit, ...]] | None
    health: Fact[tuple[str, ...]] | None
    device_tree: Fact[tuple[str, ...]] | None
    end_of_life: Fact[str] | None
    systems: Fact[tuple[str, ...]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorProfile:
    """An Edge TPU on a link that a host board must have. ``memory_mib`` is its on-chip memory, clocks in MHz."""

    name: str
    title: str
    link: Fact[str]
    memory_mib: Fact[int]
    clocks_mhz: Fact[tuple[float, ...]]
    identifiers: Fact[tuple[str, ...]]
    thermal: Fact[tuple[ThermalLimit, ...]] | None
    health: Fact[tuple[str, ...]] | None
    end_of_life: Fact[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherAccelerator:
    """An accelerator that may be on a board and that edgekit cannot use. ``used_by`` says what can."""

    name: str
    title: str
    identifiers: Fact[tuple[str, ...]]
    used_by: Fact[str]
