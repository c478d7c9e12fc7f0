from __future__ import annotations

import dataclasses
import re

import pytest

from devices.boards import profiles
from devices.boards.records import AcceleratorProfile, BoardProfile, CpuCluster, Fact, SystemProfile, ThermalLimit, verified
from devices.boards.systems import SYSTEMS
from devices.errors import DeviceError, UnknownProfileError

PROMISED_BOARDS = {
    *("pi-zero-2w", "pi-3b", "pi-3a-plus", "pi-3b-plus", "cm3-plus"),
    *("pi-4b", "pi-400", "cm4", "cm4s", "pi-5", "pi-500", "pi-500-plus", "cm5"),
    *("coral-dev-board", "coral-dev-board-mini", "coral-dev-board-micro"),
    *("jetson-nano", "jetson-orin-nano", "beaglebone-ai-64", "rock-5b", "rock-5b-plus"),
    *("orange-pi-5", "orange-pi-5b", "orange-pi-5-plus", "orange-pi-5-max"),
}
PROMISED_ACCELERATORS = {"coral-usb", "coral-m2", "coral-pcie"}

Profile = BoardProfile | AcceleratorProfile | SystemProfile
ALL: tuple[Profile, ...] = (*profiles.PROFILES, *SYSTEMS)


def test_every_promised_profile_is_there() -> None:
    assert {board.name for board in profiles.BOARDS} == PROMISED_BOARDS
    assert {accelerator.name for accelerator in profiles.ACCELERATORS} == PROMISED_ACCELERATORS


def test_names_are_unique_and_typeable() -> None:
    names = [profile.name for profile in ALL]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)


@pytest.mark.parametrize("kind", [Fact, CpuCluster, ThermalLimit, BoardProfile, AcceleratorProfile, SystemProfile])
def test_no_fact_has_a_default(kind: type) -> None:
    defaults = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    ]
    assert defaults == []


@pytest.mark.parametrize("board", profiles.BOARDS, ids=lambda board: board.name)
def test_values_are_plausible(board: BoardProfile) -> None:
    if board.memory_mib is not None:
        assert list(board.memory_mib.value) == sorted(set(board.memory_mib.value))
        assert all(32 <= size <= 65536 for size in board.memory_mib.value)
    for cluster in board.cpu.value if board.cpu else ():
        assert cluster.core.startswith("Cortex-")
        assert 1 <= cluster.count <= 8
        assert cluster.clock_mhz is None or 300 <= cluster.clock_mhz <= 4000
        assert cluster.boost_mhz is None or cluster.clock_mhz is None or cluster.boost_mhz > cluster.clock_mhz
    if board.memcpy_mb_s is not None and board.memset_mb_s is not None:
        # Filling memory only writes: on none of these boards is it slower than copying, which reads too.
        assert 500 <= board.memcpy_mb_s.value <= board.memset_mb_s.value <= 50_000


@pytest.mark.parametrize("board", profiles.BOARDS, ids=lambda board: board.name)
def test_instruction_sets_follow_the_cores(board: BoardProfile) -> None:
    if board.cpu is None or board.dot_product is None:
        return
    # Of the cores in this list only these are Armv8.2-A with the dot product (Arm's technical reference manuals).
    expected = all(cluster.core in ("Cortex-A76", "Cortex-A55", "Cortex-A78AE") for cluster in board.cpu.value)
    assert board.dot_product.value is expected
    assert board.fp16_arithmetic is not None
    assert board.fp16_arithmetic.value is expected


@pytest.mark.parametrize("board", profiles.BOARDS, ids=lambda board: board.name)
def test_systems_of_a_board_are_known(board: BoardProfile) -> None:
    for name in board.systems.value if board.systems else ():
        assert profiles.system(name).name == name


def test_which_systems_can_run_edgekit() -> None:
    assert {known.name for known in SYSTEMS if known.runs_edgekit} == {"bookworm", "trixie", "noble", "resolute"}


def test_a_system_with_a_new_python_but_no_wheel_cannot_run_edgekit() -> None:
    bare = dataclasses.replace(profiles.system("trixie"), wheels=verified((), "made up for this test"))
    assert not bare.runs_edgekit


def test_nothing_exists_for_32_bit_trixie() -> None:
    assert {wheel.arch for wheel in profiles.system("trixie").wheels.value} == {"aarch64"}


def test_the_micro_is_unreachable_with_a_reason() -> None:
    unreachable = [board for board in profiles.BOARDS if board.unreachable]
    assert [board.name for board in unreachable] == ["coral-dev-board-micro"]
    assert "no Python" in str(unreachable[0].unreachable)


def test_unknown_facts_are_absent() -> None:
    mini = profiles.board("coral-dev-board-mini")
    assert mini.cpu is None
    assert mini.memory_mib is None
    assert mini.memcpy_mb_s is None


def test_records_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        profiles.board("pi-5").name = "pi-6"  # type: ignore[misc]


@pytest.mark.parametrize("lookup", [profiles.board, profiles.find])
def test_a_misspelt_name_lists_the_known_ones(lookup: object) -> None:
    assert callable(lookup)
    with pytest.raises(UnknownProfileError, match=r"did you mean 'pi-4b'\? known: .*pi-zero-2w.*beaglebone-ai-64"):
        lookup("pi4b")


def test_a_board_is_no_accelerator() -> None:
    with pytest.raises(LookupError, match="no accelerator is called 'pi-55'; known: coral-usb, coral-m2, coral-pcie"):
        profiles.accelerator("pi-55")
    with pytest.raises(LookupError, match="pi-5 is no accelerator: say it with --board pi-5"):
        profiles.accelerator("pi-5")
    with pytest.raises(DeviceError, match="coral-usb is no board, .* --accelerator coral-usb"):
        profiles.board("coral-usb")
    assert profiles.find("coral-usb") is profiles.accelerator("coral-usb")
