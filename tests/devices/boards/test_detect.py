"""Boards are recognised by what their kernels really say: texts of ``/proc/device-tree`` and ``/proc/cpuinfo`` from device trees and
public reports (devices/boards/raspberry_pi.py, coral.py and other_boards.py name them).
"""

from __future__ import annotations

import pytest

from devices.boards import profiles
from devices.boards.detect import pi_revision, profile_name


@pytest.mark.parametrize(
    ("model", "compatible", "name"),
    [
        ("Raspberry Pi Zero 2 W Rev 1.0", "raspberrypi,model-zero-2-w brcm,bcm2837", "pi-zero-2w"),
        ("Raspberry Pi 3 Model B Rev 1.2", "raspberrypi,3-model-b brcm,bcm2837", "pi-3b"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "raspberrypi,3-model-b-plus brcm,bcm2837", "pi-3b-plus"),
        ("Raspberry Pi 3 Model A Plus Rev 1.0", "raspberrypi,3-model-a-plus brcm,bcm2837", "pi-3a-plus"),
        ("Raspberry Pi Compute Module 3 Plus Rev 1.0", "raspberrypi,3-plus-compute-module brcm,bcm2837", "cm3-plus"),
        ("Raspberry Pi Compute Module 3 Plus Rev 1.0", "raspberrypi,3-compute-module brcm,bcm2837", "cm3-plus"),  # older firmware
        ("Raspberry Pi Compute Module 3 Rev 1.0", "raspberrypi,3-compute-module brcm,bcm2837", None),
        ("Raspberry Pi 2 Model B Rev 1.1", "raspberrypi,2-model-b brcm,bcm2836", None),
        ("Raspberry Pi Zero W Rev 1.1", "raspberrypi,model-zero-w brcm,bcm2835", None),
        ("Raspberry Pi 400 Rev 1.0", "raspberrypi,400 brcm,bcm2711", "pi-400"),
        ("Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b brcm,bcm2711", "pi-4b"),
        ("Raspberry Pi Compute Module 4 Rev 1.0", "raspberrypi,4-compute-module brcm,bcm2711", "cm4"),
        ("Raspberry Pi Compute Module 4S Rev 1.0", "raspberrypi,4s-compute-module brcm,bcm2711", "cm4s"),
        ("Raspberry Pi 5 Model B Rev 1.1", "raspberrypi,5-model-b brcm,bcm2712", "pi-5"),
        ("Raspberry Pi 500 Rev 1.0", "raspberrypi,500 brcm,bcm2712", "pi-500"),
        ("Raspberry Pi Compute Module 5 Rev 1.0", "raspberrypi,5-compute-module brcm,bcm2712", "cm5"),
        ("Raspberry Pi Compute Module 5 Lite Rev 1.0", "raspberrypi,5-compute-module brcm,bcm2712", "cm5"),
        ("", "raspberrypi,5-model-b brcm,bcm2712", "pi-5"),
        ("Freescale i.MX8MQ Phanbell", "", "coral-dev-board"),
        ("Google i.MX8MQ Phanbell", "google,imx8mq-phanbell fsl,imx8mq", "coral-dev-board"),
        ("Google Coral MT8167", "mediatek,mt8167", "coral-dev-board-mini"),
        ("Pumpkin MT8167", "mediatek,mt8167-pumpkin mediatek,mt8167", None),
        ("MT8167", "mediatek,mt8167", None),
        (
            "NVIDIA Jetson Nano Developer Kit",
            "nvidia,p3449-0000-b00+p3448-0000-b00 nvidia,jetson-nano nvidia,tegra210",
            "jetson-nano",
        ),
        (
            "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
            "nvidia,p3768-0000+p3767-0005-super nvidia,p3767-0005 nvidia,tegra234",
            "jetson-orin-nano",
        ),
        ("Somebody's carrier", "nvidia,p3768-0000+p3767-0005 nvidia,p3767-0005 nvidia,tegra234", "jetson-orin-nano"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "nvidia,p3768-0000+p3767-0000 nvidia,tegra234", None),
        ("Orange Pi 5", "rockchip,rk3588s-orangepi-5 rockchip,rk3588", "orange-pi-5"),
        ("Xunlong Orange Pi 5", "xunlong,orangepi-5 rockchip,rk3588s", "orange-pi-5"),
        ("Xunlong Orange Pi 5B", "xunlong,orangepi-5b rockchip,rk3588s", "orange-pi-5b"),
        ("Xunlong Orange Pi 5B", "rockchip,rk3588s-orangepi-5 rockchip,rk3588", "orange-pi-5b"),  # a parent's name in its list
        ("Xunlong Orange Pi 5 Plus", "xunlong,orangepi-5-plus rockchip,rk3588", "orange-pi-5-plus"),
        ("RK3588 OPi 5 Plus", "rockchip,rk3588-orangepi-5-plus rockchip,rk3588", "orange-pi-5-plus"),
        ("Xunlong Orange Pi 5 Max", "xunlong,orangepi-5-max rockchip,rk3588", "orange-pi-5-max"),
        ("RK3588 OPi 5 Max", "rockchip,rk3588-orangepi-5-max rockchip,rk3588", "orange-pi-5-max"),
        ("RK3588S OPi 5 Pro", "rockchip,rk3588s-orangepi-5-pro rockchip,rk3588", None),
        ("Xunlong Orange Pi 5 Ultra", "xunlong,orangepi-5-ultra rockchip,rk3588", None),
        ("Radxa ROCK 5B", "radxa,rock-5b rockchip,rk3588", "rock-5b"),
        ("Radxa ROCK 5 Model B", "radxa,rock-5b rockchip,rk3588", "rock-5b"),
        ("Radxa ROCK 5B+", "radxa,rock-5b-plus rockchip,rk3588", "rock-5b-plus"),
        ("Radxa ROCK 5B Next", "radxa,rock-5b-next radxa,rock-5b rockchip,rk3588", None),
        ("BeagleBoard.org BeagleBone AI-64", "beagle,j721e-beagleboneai64 ti,j721e", "beaglebone-ai-64"),
        ("a toaster", "acme,toaster", None),
        ("", "", None),
    ],
)
def test_boards_are_recognised_by_their_device_tree(model: str, compatible: str, name: str | None) -> None:
    assert profile_name(model, compatible) == name


def test_no_name_of_a_board_is_taken_for_another() -> None:
    """Whatever begins, ends or goes on like a known name is another board."""
    names = {name: board.name for board in profiles.BOARDS if board.device_tree for name in board.device_tree.value}
    for name, board in names.items():
        assert profile_name(name, "") in {board, "pi-500"}  # the 500+ has the 500's name
        for other in (f"{name}+", f"{name} Ultra", f"{name}x", f"My {name}"):
            assert profile_name(other, "") == names.get(other), other
            assert profile_name("", other.replace(" ", "-")) == names.get(other.replace(" ", "-")), other


def test_no_processor_is_a_board() -> None:
    for name in (
        "brcm,bcm2711",
        "brcm,bcm2712",
        "rockchip,rk3588",
        "rockchip,rk3588s",
        "mediatek,mt8167",
        "nvidia,tegra234",
        "fsl,imx8mq",
    ):
        assert profile_name("", name) is None


@pytest.mark.parametrize(
    ("code", "board", "memory_mib", "revision"),
    [
        ("a04171", "pi-5", 1024, "1.1"),
        ("b04170", "pi-5", 2048, "1.0"),
        ("d04170", "pi-5", 8192, "1.0"),
        ("e04171", "pi-5", 16384, "1.1"),
        ("d04190", "pi-500", 8192, "1.0"),
        ("e04190", "pi-500-plus", 16384, "1.0"),
        ("a02082", "pi-3b", 1024, "1.2"),
        ("9020e1", "pi-3a-plus", 512, "1.1"),
        ("a020d3", "pi-3b-plus", 1024, "1.3"),
        ("a02100", "cm3-plus", 1024, "1.0"),
        ("c03114", "pi-4b", 4096, "1.4"),
        ("2c03114", "pi-4b", 4096, "1.4"),  # the warranty bit
        ("c041a0", "cm5", 4096, "1.0"),
        ("902120", "pi-zero-2w", 512, "1.0"),
        ("a01041", None, 1024, "1.1"),  # a Pi 2
    ],
)
def test_revision_codes(code: str, board: str | None, memory_mib: int, revision: str) -> None:
    found = pi_revision(code)
    assert found is not None
    assert (found.board, found.memory_mib, found.revision) == (board, memory_mib, revision)
    if board is not None:
        known = profiles.board(board).memory_mib
        assert known is not None and memory_mib in known.value


@pytest.mark.parametrize("code", ["", "0010", "000e", "1000021", "garbage", "0x04171"])
def test_old_and_other_codes_say_nothing(code: str) -> None:
    assert pi_revision(code) is None


def test_the_500_and_the_500_plus_differ_by_their_code() -> None:
    tree = ("Raspberry Pi 500 Rev 1.0", "raspberrypi,500 brcm,bcm2712")
    assert profile_name(*tree, revision="d04190") == "pi-500"
    assert profile_name(*tree, revision="e04190") == "pi-500-plus"
    assert profile_name("Raspberry Pi 5 Model B Rev 1.1", "", revision="e04190") == "pi-5"  # the name decides
