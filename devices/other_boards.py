"""Boards by NVIDIA, Xunlong, Radxa and BeagleBoard.org. Only their CPUs are used."""

from __future__ import annotations

from .records import BoardProfile, CpuCluster, derived, verified

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
    device_tree=verified("nvidia,jetson-nano", _DETECT),
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
    device_tree=verified("Orange Pi 5", _DETECT),
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
    device_tree=verified("Radxa ROCK 5B", "Linux, rk3588-rock-5b.dts"),
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
    device_tree=verified("beagle,j721e-beagleboneai64", "Linux, k3-j721e-beagleboneai64.dts"),
    systems=None,
)

OTHER_BOARDS = (JETSON_NANO, ORANGE_PI_5, ROCK_5B, BEAGLEBONE_AI_64)
