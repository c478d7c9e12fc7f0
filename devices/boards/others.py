"""Boards by NVIDIA, Xunlong, Radxa and BeagleBoard.org. Only their CPUs are used."""

from __future__ import annotations

import dataclasses

from .records import BoardProfile, CheckedOn, CpuCluster

_FIRST = CheckedOn(date="2026-11-20")
verified, derived = _FIRST.verified, _FIRST.derived
_NOW = CheckedOn(date="2026-11-30")

_SBC_BENCH = "ThomasKaiser/sbc-bench, Results.md at 53f7951"
_CPUFP = "pigirons/cpufp at 93e165e"
_DETECT = "adafruit/Adafruit_Python_PlatformDetect at 52f61e4"
_BEAGLE = "https://beagleboard.org/ai-64"
_RK3588 = (
    CpuCluster(core="Cortex-A76", count=4, clock_mhz=2400, boost_mhz=None),
    CpuCluster(core="Cortex-A55", count=4, clock_mhz=1800, boost_mhz=None),
)
_NO_EDGETPU = derived(None, "Edge TPUs are built into Coral boards only")
_FROM_SOC = "what the RK3588 offers; connectors differ between revisions"
_THERMAL_ZONES = verified(
    ("/sys/class/thermal/thermal_zone*/{type,temp}", "/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"),
    "Linux, Documentation/driver-api/thermal/sysfs-api.rst",
)

JETSON_NANO = BoardProfile(
    name="jetson-nano",
    title="NVIDIA Jetson Nano (CPU only)",
    unreachable=None,
    soc=verified("Tegra X1", _SBC_BENCH),
    arch=verified("aarch64", _SBC_BENCH),
    cpu=verified((CpuCluster(core="Cortex-A57", count=4, clock_mhz=1430, boost_mhz=1480),), _SBC_BENCH),
    dot_product=verified(False, f"{_CPUFP}: no dot-product result"),
    fp16_arithmetic=derived(False, "Armv8.0-A; half-precision arithmetic came as an option with Armv8.2-A"),
    caches=verified("2 MiB L2", _SBC_BENCH),
    memory_mib=verified((4096,), _SBC_BENCH),
    memory_type=verified("LPDDR4", _SBC_BENCH),
    memcpy_mb_s=verified(3730, _SBC_BENCH),
    memset_mb_s=verified(8870, _SBC_BENCH),
    usb=derived("USB 3.0", "the developer kit's carrier board; other carriers differ"),
    pcie=derived("M.2 key E", "the developer kit's carrier board; other carriers differ"),
    edgetpu=_NO_EDGETPU,
    thermal=None,
    health=_THERMAL_ZONES,
    device_tree=_NOW.verified(("NVIDIA Jetson Nano Developer Kit", "nvidia,jetson-nano", "nvidia,p3450-0000"), _DETECT),
    end_of_life=None,
    systems=None,
)

ORANGE_PI_5 = BoardProfile(
    name="orange-pi-5",
    title="Orange Pi 5",
    unreachable=None,
    soc=verified("Rockchip RK3588S", "Linux, rk3588s-orangepi-5.dts"),
    arch=verified("aarch64", _SBC_BENCH),
    cpu=verified(_RK3588, _SBC_BENCH),
    dot_product=verified(True, f"{_CPUFP}, both clusters of the RK3588"),
    fp16_arithmetic=verified(True, f"{_CPUFP}, both clusters of the RK3588"),
    caches=verified("3 MiB L3", _SBC_BENCH),
    memory_mib=None,
    memory_type=None,
    memcpy_mb_s=verified(12800, _SBC_BENCH),
    memset_mb_s=verified(29900, _SBC_BENCH),
    usb=derived("USB 3.0", _FROM_SOC),
    pcie=derived("PCIe", _FROM_SOC),
    edgetpu=_NO_EDGETPU,
    thermal=None,
    health=_THERMAL_ZONES,
    device_tree=_NOW.verified(
        ("Orange Pi 5", "Xunlong Orange Pi 5", "xunlong,orangepi-5", "rockchip,rk3588s-orangepi-5"),
        f"{_DETECT}; Linux, rk3588s-orangepi-5.dts; the maker's kernel",
    ),
    end_of_life=None,
    systems=None,
)

ROCK_5B = BoardProfile(
    name="rock-5b",
    title="Radxa ROCK 5B",
    unreachable=None,
    soc=verified("Rockchip RK3588", "Linux, rk3588-rock-5b.dts"),
    arch=verified("aarch64", _SBC_BENCH),
    cpu=verified(_RK3588, _SBC_BENCH),
    dot_product=verified(True, f"{_CPUFP}, both clusters of the RK3588"),
    fp16_arithmetic=verified(True, f"{_CPUFP}, both clusters of the RK3588"),
    caches=verified("3 MiB L3", _SBC_BENCH),
    memory_mib=None,
    memory_type=None,
    memcpy_mb_s=verified(10830, _SBC_BENCH),
    memset_mb_s=verified(29220, _SBC_BENCH),
    usb=derived("USB 3.0", _FROM_SOC),
    pcie=derived("PCIe", _FROM_SOC),
    edgetpu=_NO_EDGETPU,
    thermal=None,
    health=_THERMAL_ZONES,
    device_tree=_NOW.verified(("Radxa ROCK 5B", "Radxa ROCK 5 Model B", "radxa,rock-5b"), "Linux, rk3588-rock-5b.dts"),
    end_of_life=None,
    systems=None,
)

BEAGLEBONE_AI_64 = BoardProfile(
    name="beaglebone-ai-64",
    title="BeagleBone AI-64 (CPU only)",
    unreachable=None,
    soc=verified("TI TDA4VM (J721E)", _BEAGLE),
    arch=verified("aarch64", _BEAGLE),
    cpu=verified((CpuCluster(core="Cortex-A72", count=2, clock_mhz=2000, boost_mhz=None),), _BEAGLE),
    dot_product=verified(False, "hrw/arm-socs-table#40: /proc/cpuinfo without asimddp"),
    fp16_arithmetic=verified(False, "hrw/arm-socs-table#40: /proc/cpuinfo without asimdhp"),
    caches=verified("1 MiB L2", _SBC_BENCH),
    memory_mib=verified((4096,), "Linux, k3-j721e-beagleboneai64.dts"),
    memory_type=verified("LPDDR4", _BEAGLE),
    memcpy_mb_s=verified(2660, _SBC_BENCH),
    memset_mb_s=verified(8710, _SBC_BENCH),
    usb=verified("1 x USB 3.0 Type-C, 2 x USB 3.0 Type-A", _BEAGLE),
    pcie=verified("M.2 key E", _BEAGLE),
    edgetpu=_NO_EDGETPU,
    thermal=None,
    # sbc-bench found no temperature sensor that could be read.
    health=verified((), _SBC_BENCH),
    device_tree=_NOW.verified(
        ("BeagleBoard.org BeagleBone AI-64", "beagle,j721e-beagleboneai64"), "Linux, k3-j721e-beagleboneai64.dts"
    ),
    end_of_life=None,
    systems=None,
)

JETSON_ORIN_NANO = dataclasses.replace(
    JETSON_NANO,
    name="jetson-orin-nano",
    title="NVIDIA Jetson Orin Nano (CPU only)",
    soc=_NOW.verified("Tegra234 (Orin)", "nvidia,tegra234 in its device tree"),
    arch=_NOW.verified("aarch64", "https://docs.nvidia.com/jetson/archives/r36.4.3/DeveloperGuide/SO/JetsonOrinSeries.html"),
    cpu=_NOW.verified(
        (CpuCluster(core="Cortex-A78AE", count=6, clock_mhz=None, boost_mhz=None),),
        "/proc/cpuinfo of a developer kit: six cores, CPU part 0xd42; their clock depends on the power mode",
    ),
    dot_product=_NOW.verified(True, "/proc/cpuinfo of a developer kit: asimddp"),
    fp16_arithmetic=_NOW.verified(True, "/proc/cpuinfo of a developer kit: asimdhp"),
    caches=None,
    memory_mib=None,
    memory_type=None,
    memcpy_mb_s=None,
    memset_mb_s=None,
    usb=None,
    pcie=None,
    device_tree=_NOW.verified(
        (
            *("NVIDIA Jetson Orin Nano Developer Kit", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit"),
            "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
            *("nvidia,p3768-0000+p3767-0003", "nvidia,p3768-0000+p3767-0004", "nvidia,p3768-0000+p3767-0005"),
            *("nvidia,p3768-0000+p3767-0003-super", "nvidia,p3768-0000+p3767-0004-super", "nvidia,p3768-0000+p3767-0005-super"),
            *("nvidia,p3509-0000+p3767-0003", "nvidia,p3509-0000+p3767-0004", "nvidia,p3509-0000+p3767-0005"),
        ),
        "NVIDIA's JETSON_COMPATIBLE_P3768 and its P3509 kin; /proc/device-tree/model of developer kits with Jetson Linux R36",
    ),
)

# Of these only identity and processor are known: what was measured on the Orange Pi 5 or the ROCK 5B is not theirs.
_UNMEASURED_RK3588 = dataclasses.replace(
    ORANGE_PI_5,
    cpu=_NOW.derived(_RK3588, f"the processor's clocks, as on the Orange Pi 5; {_SBC_BENCH}"),
    memcpy_mb_s=None,
    memset_mb_s=None,
)

ORANGE_PI_5_PLUS = dataclasses.replace(
    _UNMEASURED_RK3588,
    name="orange-pi-5-plus",
    title="Orange Pi 5 Plus",
    soc=_NOW.verified("Rockchip RK3588", "Linux, rk3588-orangepi-5-plus.dts"),
    device_tree=_NOW.verified(
        ("Orange Pi 5 Plus", "Xunlong Orange Pi 5 Plus", "RK3588 OPi 5 Plus", "xunlong,orangepi-5-plus"),
        "Linux, rk3588-orangepi-5-plus.dts; the maker's kernel, probes at linux-hardware.org",
    ),
)

ORANGE_PI_5_MAX = dataclasses.replace(
    _UNMEASURED_RK3588,
    name="orange-pi-5-max",
    title="Orange Pi 5 Max",
    soc=_NOW.verified("Rockchip RK3588", "Linux, rk3588-orangepi-5-max.dts"),
    device_tree=_NOW.verified(
        ("Orange Pi 5 Max", "Xunlong Orange Pi 5 Max", "RK3588 OPi 5 Max", "xunlong,orangepi-5-max"),
        "Linux, rk3588-orangepi-5-max.dts; the maker's kernel, ThomasKaiser/sbc-bench, results/XyIw.txt",
    ),
    systems=_NOW.verified(("resolute",), "reports of Armbian's Ubuntu 26.04 on it"),
)

ORANGE_PI_5B = dataclasses.replace(
    _UNMEASURED_RK3588,
    name="orange-pi-5b",
    title="Orange Pi 5B",
    soc=_NOW.verified("Rockchip RK3588S", "Linux, rk3588s-orangepi-5b.dts"),
    device_tree=_NOW.verified(
        ("Orange Pi 5B", "Xunlong Orange Pi 5B", "xunlong,orangepi-5b", "rockchip,rk3588s-orangepi-5b"),
        "Linux, rk3588s-orangepi-5b.dts",
    ),
)

ROCK_5B_PLUS = dataclasses.replace(
    _UNMEASURED_RK3588,
    name="rock-5b-plus",
    title="Radxa ROCK 5B+",
    soc=_NOW.verified("Rockchip RK3588", "Linux, rk3588-rock-5b-plus.dts"),
    device_tree=_NOW.verified(("Radxa ROCK 5B+", "radxa,rock-5b-plus"), "Linux, rk3588-rock-5b-plus.dts"),
)

OTHER_BOARDS = (
    *(JETSON_NANO, JETSON_ORIN_NANO),
    *(ORANGE_PI_5, ORANGE_PI_5B, ORANGE_PI_5_PLUS, ORANGE_PI_5_MAX),
    *(ROCK_5B, ROCK_5B_PLUS, BEAGLEBONE_AI_64),
)
