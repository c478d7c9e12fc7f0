"""Boards by NVIDIA, Xunlong, Radxa and BeagleBoard.org. Only their CPUs are used."""

from __future__ import annotations

import dataclasses

from .records import BoardProfile, CheckedOn, CpuCluster

_FIRST = CheckedOn(date="2026-11-20")
verified, derived = _FIRST.verified, _FIRST.derived
_NOW = CheckedOn(date="2026-11-30")

_SBC_BENCH = "ThomasKaiser/sbc-bench, Results.md at 53f7951"
_CPUFP = "pigirons/cpufp, benchmark_result/arm64/RockChip_RK3588.md at 67c2571"
_DETECT = "adafruit/Adafruit_Python_PlatformDetect at 52f61e4"
_BEAGLE = "tari-labs/open-hardware, beaglebone/BeagleBone.md, after beagleboard.org/ai-64"
_CPUINFO_NANO = "/proc/cpuinfo (hrw/arm-socs-table#37)"
_RK3588 = (
    CpuCluster(core="Cortex-A76", count=4, clock_mhz=2400, boost_mhz=None),
    CpuCluster(core="Cortex-A55", count=4, clock_mhz=1800, boost_mhz=None),
)
_NO_EDGETPU = derived(None, "Edge TPUs are built into Coral boards only")
_FROM_SOC = "what the RK3588 offers; no description of the board's connectors was opened"
_FROM_KIT = "the developer kit's carrier board, no description of which was opened; other carriers differ"
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
    dot_product=_NOW.verified(False, f"no asimddp in {_CPUINFO_NANO}"),
    fp16_arithmetic=_NOW.verified(False, f"no asimdhp in {_CPUINFO_NANO}"),
    caches=verified("2 MiB L2", _SBC_BENCH),
    memory_mib=verified((4096,), _SBC_BENCH),
    memory_type=verified("LPDDR4", _SBC_BENCH),
    memcpy_mb_s=verified(3730, _SBC_BENCH),
    memset_mb_s=verified(8870, _SBC_BENCH),
    usb=_NOW.unopened("USB 3.0", _FROM_KIT),
    pcie=_NOW.unopened("M.2 key E", _FROM_KIT),
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
    soc=_NOW.verified("Rockchip RK3588S", "Linux, rk3588s-orangepi-5.dts"),
    arch=verified("aarch64", _SBC_BENCH),
    cpu=verified(_RK3588, _SBC_BENCH),
    dot_product=_NOW.verified(True, f"{_CPUFP}: asimd_dp on both clusters"),
    fp16_arithmetic=_NOW.verified(True, f"{_CPUFP}: asimd_hp on both clusters"),
    caches=verified("3 MiB L3", _SBC_BENCH),
    memory_mib=None,
    memory_type=None,
    memcpy_mb_s=verified(12800, _SBC_BENCH),
    memset_mb_s=verified(29900, _SBC_BENCH),
    usb=_NOW.unopened("USB 3.0", _FROM_SOC),
    pcie=_NOW.unopened("PCIe", _FROM_SOC),
    edgetpu=_NO_EDGETPU,
    thermal=None,
    health=_THERMAL_ZONES,
    device_tree=_NOW.verified(
        ("Orange Pi 5", "Xunlong Orange Pi 5", "xunlong,orangepi-5", "rockchip,rk3588s-orangepi-5"),
        f"{_DETECT}; Linux, rk3588s-orangepi-5.dts; rockchip,rk3588s-orangepi-5: its first patch",
    ),
    end_of_life=None,
    systems=None,
)

ROCK_5B = BoardProfile(
    name="rock-5b",
    title="Radxa ROCK 5B",
    unreachable=None,
    soc=_NOW.verified("Rockchip RK3588", "Linux, rk3588-rock-5b.dts"),
    arch=verified("aarch64", _SBC_BENCH),
    cpu=verified(_RK3588, _SBC_BENCH),
    dot_product=_NOW.verified(True, f"{_CPUFP}: asimd_dp on both clusters"),
    fp16_arithmetic=_NOW.verified(True, f"{_CPUFP}: asimd_hp on both clusters"),
    caches=verified("3 MiB L3", _SBC_BENCH),
    memory_mib=None,
    memory_type=None,
    memcpy_mb_s=verified(10830, _SBC_BENCH),
    memset_mb_s=verified(29220, _SBC_BENCH),
    usb=_NOW.unopened("USB 3.0", _FROM_SOC),
    pcie=_NOW.unopened("PCIe", _FROM_SOC),
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
    soc=_NOW.verified("TI TDA4VM (J721E)", "hrw/arm-socs-table#40; Linux, k3-j721e-beagleboneai64.dts"),
    arch=_NOW.derived("aarch64", "/proc/cpuinfo (hrw/arm-socs-table#40): Cortex-A72 with asimd, as 64-bit kernels name it"),
    cpu=_NOW.verified((CpuCluster(core="Cortex-A72", count=2, clock_mhz=2000, boost_mhz=None),), _BEAGLE),
    dot_product=_NOW.verified(False, "hrw/arm-socs-table#40: /proc/cpuinfo without asimddp"),
    fp16_arithmetic=_NOW.verified(False, "hrw/arm-socs-table#40: /proc/cpuinfo without asimdhp"),
    caches=verified("1 MiB L2", _SBC_BENCH),
    memory_mib=_NOW.verified((4096,), "Linux, k3-j721e-beagleboneai64.dts"),
    memory_type=_NOW.verified("LPDDR4", f"{_BEAGLE}; armbian/build#7918"),
    memcpy_mb_s=verified(2660, _SBC_BENCH),
    memset_mb_s=verified(8710, _SBC_BENCH),
    usb=_NOW.verified("1 x USB 3.0 Type-C, 2 x USB 3.0 Type-A", _BEAGLE),
    pcie=_NOW.verified("M.2 key E", _BEAGLE),
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
    soc=_NOW.verified("Tegra234 (Orin)", "Linux, tegra234-p3768-0000+p3767-0005.dts at 3663e2c"),
    arch=_NOW.verified("aarch64", "https://docs.nvidia.com/jetson/archives/r36.4.3/DeveloperGuide/SO/JetsonOrinSeries.html"),
    cpu=_NOW.verified(
        (CpuCluster(core="Cortex-A78AE", count=6, clock_mhz=None, boost_mhz=None),),
        "golemfactory/yagna#3405, with NVIDIA's figures: 6-core Cortex-A78AE; the clock depends on the power mode",
    ),
    dot_product=_NOW.derived(True, "lscpu of a Jetson AGX Orin, which has the same cores (KavrakiLab/vamp#20): asimddp"),
    fp16_arithmetic=_NOW.derived(True, "lscpu of a Jetson AGX Orin, which has the same cores (KavrakiLab/vamp#20): asimdhp"),
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
        "Linux, tegra234-p3768-0000+p3767-0005.dts; Jetson.GPIO, compats_jetson_orins_nano; models that developer kits report",
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
        "Linux, arm/rockchip.yaml; probes at linux-hardware.org (RK3588 OPi 5 Plus)",
    ),
)

ORANGE_PI_5_MAX = dataclasses.replace(
    _UNMEASURED_RK3588,
    name="orange-pi-5-max",
    title="Orange Pi 5 Max",
    soc=_NOW.verified("Rockchip RK3588", "Linux, rk3588-orangepi-5-max.dts"),
    device_tree=_NOW.verified(
        ("Orange Pi 5 Max", "Xunlong Orange Pi 5 Max", "RK3588 OPi 5 Max", "xunlong,orangepi-5-max"),
        "Linux, rk3588-orangepi-5-max.dts; RK3588 OPi 5 Max: ThomasKaiser/sbc-bench, results/XyIw.txt",
    ),
    usb=_NOW.verified("2 x USB 3.0, 2 x USB 2.0, 1 x USB-C", "armbian/build#6967"),
    pcie=_NOW.verified("PCIe", "armbian/build#6967"),
    systems=_NOW.verified(
        ("trixie", "resolute"),
        "boards that report 'RK3588 OPi 5 Max' with Armbian's '26.2.0-trunk.904 trixie' and with its Ubuntu '26.04 resolute'",
    ),
)

ORANGE_PI_5B = dataclasses.replace(
    _UNMEASURED_RK3588,
    name="orange-pi-5b",
    title="Orange Pi 5B",
    soc=_NOW.verified("Rockchip RK3588S", "Linux, rk3588s-orangepi-5b.dts"),
    device_tree=_NOW.verified(
        ("Orange Pi 5B", "Xunlong Orange Pi 5B", "xunlong,orangepi-5b", "rockchip,rk3588s-orangepi-5b"),
        "Linux, rk3588s-orangepi-5b.dts at 476906f (rockchip,rk3588s-orangepi-5b is from memory)",
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
