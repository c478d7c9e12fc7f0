"""Power, throttling, heat and clocks of a board, as ``edgekit doctor`` sees them."""

from __future__ import annotations

from collections.abc import Iterator

from ..boards import throttling
from .probe import BoardFacts, Cluster
from .symptoms import Symptom, note, warning

_UNDER_VOLTAGE = "under-voltage"
_UNSEEN = "throttling and under-voltage cannot be seen"


def findings(facts: BoardFacts) -> Iterator[Symptom]:
    """Yield what is wrong with power, heat and clocks, now and since the board started."""
    flags = throttling.now_and_since_start(facts.first("throttled") or "")
    if flags is not None:
        yield from _flags(*flags)
    yield from _vcgencmd(facts, seen=flags is not None)
    degrees = temperature(facts)
    if degrees is not None and degrees >= 80:
        yield warning("temperature", f"{degrees:.0f} °C: the processor is throttled from 80 °C on; add a heat sink or a fan")
    if facts.virtual:
        yield note(
            "virtual", "a virtual board: it proves deployment and accuracy; nothing about speed, memory or temperature is real"
        )
        return
    said = _governors(facts)
    if set(said) - {"performance"}:
        yield note(
            "governor",
            f"the frequency governor is {' and '.join(said)}; for steady measurements use performance (until the next start)",
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )


def temperature(facts: BoardFacts) -> float | None:
    """Return the highest temperature in degrees Celsius."""
    values = [answer.rpartition(" ")[2] for answer in facts.answers.get("temperature", ())]
    return max((int(value) / 1000 for value in values if value.lstrip("-").isdigit()), default=None)


def clock_row(facts: BoardFacts) -> str:
    """Return the clocks and governors of all clusters, those that are alike once."""
    rows = [
        f"{_who(cluster, facts)}{cluster.clock_mhz:.0f} of {cluster.clock_max_mhz:.0f} MHz, governor {cluster.governor or 'unknown'}"
        for cluster in facts.clusters
        if cluster.clock_mhz is not None and cluster.clock_max_mhz is not None
    ]
    return "; ".join(dict.fromkeys(rows)) or "unknown"


def throttling_row(facts: BoardFacts) -> str:
    """Return the present state and the history beside it."""
    flags = throttling.now_and_since_start(facts.first("throttled") or "")
    if flags is None:
        return "unknown"
    now, since = (", ".join(found) or "nothing" for found in flags)
    return f"now {now}; since the start {since}"


def _flags(now: tuple[str, ...], since: tuple[str, ...]) -> Iterator[Symptom]:
    if _UNDER_VOLTAGE in (*now, *since):
        when = "now" if _UNDER_VOLTAGE in now else "at some time since the board started"
        yield warning(
            "power", f"under-voltage {when}: use the board's own power supply and a short cable", "vcgencmd get_throttled"
        )
    present = [flag for flag in now if flag != _UNDER_VOLTAGE]
    past = [flag for flag in since if flag != _UNDER_VOLTAGE and flag not in present]
    parts = [f"{', '.join(present)} now"] if present else []
    parts += [f"{', '.join(past)} at some time since the board started"] if past else []
    if parts:
        yield warning(
            "throttling",
            f"{'; '.join(parts)}: speeds measured then are not the board's; cool it",
            "vcgencmd measure_temp",
        )


def _vcgencmd(facts: BoardFacts, *, seen: bool) -> Iterator[Symptom]:
    failed = facts.first("vcgencmd_failed")
    if failed is not None:
        user, consequence = facts.first("user") or "the user", "" if seen else f": {_UNSEEN}"
        if facts.first("vcio") is None and facts.first("container") is not None:
            fix = "docker run --device /dev/vcio …"
        else:
            fix = "" if user == "root" else f"sudo usermod -aG video {user}"
        make = note if seen else warning
        yield make("throttling", f"vcgencmd is there and fails ({failed}){consequence}", fix)
    elif not seen and not facts.virtual and (facts.model or "").startswith("Raspberry Pi"):
        yield note("throttling", f"there is no vcgencmd: {_UNSEEN}")


def _governors(facts: BoardFacts) -> tuple[str, ...]:
    return tuple(dict.fromkeys(facts.answers.get("governor", ())))


def _who(cluster: Cluster, facts: BoardFacts) -> str:
    kinds = {(other.core, other.clock_max_mhz) for other in facts.clusters}
    if len(kinds) < 2:
        return ""
    count = len(cluster.cpus.split())
    return f"{count} x {cluster.core} " if cluster.core else f"cores {cluster.cpus.replace(' ', ',')} "
