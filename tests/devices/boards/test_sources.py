"""Each fact has a source that somebody can look up, and the day; what is from memory says so wherever it is told or used."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from devices.boards import profiles
from devices.boards.other_accelerators import OTHER_ACCELERATORS
from devices.boards.records import Basis, CheckedOn, Fact
from devices.boards.systems import SYSTEMS
from devices.commands.boards import details, table
from devices.op_list import Network
from devices.predict import latency

EVERYTHING: tuple[Any, ...] = (*profiles.PROFILES, *OTHER_ACCELERATORS, *SYSTEMS)
FROM_MEMORY = "from memory, no source opened"
# A repository, a file, an address, an issue; a command whose answer it is; words of a log or report.
LOOKED_UP = re.compile(r"\w[./#]\w|^pip |^apt-cache |'.+'")


def facts(profile: Any) -> Iterator[tuple[str, Fact[Any]]]:
    for field in dataclasses.fields(profile):
        value = getattr(profile, field.name)
        if isinstance(value, Fact):
            yield f"{profile.name}.{field.name}", value


@pytest.mark.parametrize("profile", EVERYTHING, ids=lambda profile: profile.name)
def test_every_fact_has_a_source_and_a_day(profile: Any) -> None:
    for name, fact in facts(profile):
        assert fact.basis in get_args(Basis), name
        assert fact.source.strip() and dt.date.fromisoformat(str(fact.checked)) <= dt.date.today(), name
        if fact.basis == "verified":
            assert LOOKED_UP.search(fact.source), f"{name}: where can {fact.source!r} be looked up?"
            assert not re.match(r"from memory|reports of", fact.source), name


def test_what_is_from_memory_says_so_in_full_and_in_the_table() -> None:
    remembered = {name for profile in EVERYTHING for name, fact in facts(profile) if fact.basis == "unopened"}
    assert "rock-5b.usb" in remembered and "pi-5.usb" not in remembered
    for profile in (*profiles.PROFILES, *OTHER_ACCELERATORS):
        mine = [name for name, _ in facts(profile) if name in remembered]
        assert " ".join(details(profile).split()).count(FROM_MEMORY) == len(mine), profile.name
    rows = {line.split()[0]: line for line in table().splitlines() if line.strip()}
    assert "3*" in rows["rock-5b"].split() and "3*" not in rows["pi-5"].split()
    assert "*: from memory" in table()


def test_a_prediction_over_a_link_that_is_from_memory_says_so() -> None:
    network = Network(ops=(), inputs=(), outputs=(), file_bytes=0)
    said = {}
    for name, stick in (("rock-5b", "coral-usb"), ("pi-5", "coral-usb"), ("rock-5b", "coral-m2"), ("pi-5", "coral-m2")):
        board = profiles.board(name)
        attached = latency.link(board, profiles.accelerator(stick))
        assert attached is not None
        found = latency.edgetpu(network, attached, mapped=(), streamed=(0, 0, 0), board=board)
        assert found is not None
        said[name, stick] = "that this board has it is from memory" in found.basis
    assert said == {(name, stick): name == "rock-5b" for name, stick in said}


def test_a_fact_from_memory_keeps_the_day_on_which_a_source_was_looked_for() -> None:
    fact = CheckedOn(date="2026-11-30").unopened("USB 3.0", "no description of its connectors was opened")
    assert (fact.basis, fact.checked) == ("unopened", "2026-11-30")
