"""Raspberry Pi boards."""

from __future__ import annotations

import dataclasses

from .records import BoardProfile, CheckedOn, CpuCluster, Fact, ThermalLimit

_FIRST = CheckedOn(date="2026-11-20")
_NOW = CheckedOn(date="2026-11-30")
verified, derived = _NOW.verified, _NOW.derived

_DOCS = "raspberrypi/documentation"
_RP3A0 = f"{_DOCS}, processors/rp3a0.adoc at 074cd03"
_BCM2837B0 = f"{_DOCS}, processors/bcm2837b0.adoc at 18f6e7e"
_BCM2711 = f"{_DOCS}, processors/bcm2711.adoc at 12045f8"
_BCM2712 = f"{_DOCS}, processors/bcm2712.adoc at 07b21c3"
_HARDWARE = f"{_DOCS}, raspberry-pi/introduction.adoc at 0193d56"
_MODULES = f"{_DOCS}, compute-module/introduction.adoc at 03a1acf"
_KEYBOARDS = f"{_DOCS}, keyboard-computers/intro.adoc at 04cd833"
_CLOCKS = f"{_DOCS}, config_txt/overclocking.adoc at 09e9186"
_THERMAL = f"{_DOCS}, raspberry-pi/frequency-management.adoc at 0456a78"
_REVISIONS = f"{_DOCS}, revision-codes.adoc at 0456a78"
_SBC_BENCH = "ThomasKaiser/sbc-bench, Results.md at 53f7951"
_CPUFP = "pigirons/cpufp at 93e165e"
_MEASURED_A72 = "pigirons/cpufp, benchmark_result/arm64/Broadcom_BCM2711.md at 67c2571: neither asimd_dp nor asimd_hp"
_CPUINFO_A53 = "/proc/cpuinfo of another Cortex-A53 (hrw/arm-socs-table#101)"


def _names(*names: str) -> Fact[tuple[str, ...]]:
    return verified(names, f"{_REVISIONS}; models as boards report them: reports, and strings of the firmware (viamrobotics/rdk)")


_LIMITS = (
    ThermalLimit(celsius=80, effect="the Arm cores are throttled progressively"),
    ThermalLimit(celsius=85, effect="Arm cores and GPU are throttled"),
)
_HEALTH = verified(
    ("vcgencmd measure_temp", "vcgencmd measure_clock arm", "vcgencmd get_throttled"),
    f"{_DOCS}, os/graphics-utilities.adoc at 0cc21c8",
)
_ARCH = verified("aarch64", f"{_DOCS}, processors: 64-bit Arm cores (rp3a0, bcm2837b0, bcm2711, bcm2712)")
_NO_DOT = derived(False, f"no asimddp in {_CPUINFO_A53}")
_NO_FP16 = derived(False, f"no asimdhp in {_CPUINFO_A53}")
_CACHES_A72 = verified("per core 48 KiB I + 32 KiB D; 1 MiB L2", _BCM2711)
_CACHES_A76 = verified("per core 64 KiB I + 64 KiB D and 512 KiB L2; 2 MiB L3", _BCM2712)
_BOOST = f"{_CLOCKS}: 1800 MHz from revision 1.4 on with arm_boost=1 (that images since late 2021 set it is from memory)"
_A72 = verified((CpuCluster(core="Cortex-A72", count=4, clock_mhz=1500, boost_mhz=1800),), _BOOST)
_A76 = verified((CpuCluster(core="Cortex-A76", count=4, clock_mhz=2400, boost_mhz=None),), _BCM2712)
_DOT = _FIRST.verified(True, f"{_CPUFP}; /proc/cpuinfo has asimddp")
_FP16 = _FIRST.verified(True, f"{_CPUFP}; /proc/cpuinfo has asimdhp")
_NO_EDGETPU = derived(None, f"{_HARDWARE}: none is listed")
_NO_PCIE_BCM2711 = verified(None, f"{_BCM2711}: its PCIe link is used for the USB 3 controller")
_SYSTEMS = derived(("bookworm", "trixie", "bullseye"), "Raspberry Pi OS is made for all Raspberry Pi boards of its time")
_UBUNTU = (
    "Ubuntu on Raspberry Pi 4 and 5: aws-deepracer-community/deepracer-custom-car#44 (24.04), canonical/ubuntu.com#16247 (26.04)"
)
_SYSTEMS_PI_4B = derived(
    ("bookworm", "trixie", "bullseye", "noble", "resolute"), f"Raspberry Pi OS is made for all Raspberry Pi boards; {_UBUNTU}"
)
_SYSTEMS_BCM2712 = derived(
    ("bookworm", "trixie", "noble", "resolute"), f"Raspberry Pi OS; the BCM2712 came out with Bookworm; {_UBUNTU}"
)


PI_ZERO_2_W = BoardProfile(
    name="pi-zero-2w",
    title="Raspberry Pi Zero 2 W",
    unreachable=None,
    soc=verified("RP3A0 (BCM2710A1)", _RP3A0),
    arch=_ARCH,
    cpu=verified((CpuCluster(core="Cortex-A53", count=4, clock_mhz=1000, boost_mhz=None),), _RP3A0),
    dot_product=_NO_DOT,
    fp16_arithmetic=_NO_FP16,
    caches=None,
    memory_mib=verified((512,), _RP3A0),
    memory_type=_NOW.unopened("LPDDR2", f"{_RP3A0} says DRAM only"),
    memcpy_mb_s=_FIRST.verified(1300, _SBC_BENCH),
    memset_mb_s=_FIRST.verified(1570, _SBC_BENCH),
    usb=derived("1 x micro USB 2.0 (OTG)", f"{_HARDWARE}: one micro USB port for devices; its chip has USB 2.0"),
    pcie=derived(None, f"{_HARDWARE}: none is listed"),
    edgetpu=_NO_EDGETPU,
    thermal=verified(_LIMITS, _THERMAL),
    health=_HEALTH,
    device_tree=_names("Raspberry Pi Zero 2 W", "raspberrypi,model-zero-2-w"),
    end_of_life=None,
    systems=_SYSTEMS,
)

PI_3B_PLUS = BoardProfile(
    name="pi-3b-plus",
    title="Raspberry Pi 3 Model B+",
    unreachable=None,
    soc=verified("BCM2837B0", _BCM2837B0),
    arch=_ARCH,
    cpu=verified((CpuCluster(core="Cortex-A53", count=4, clock_mhz=1400, boost_mhz=None),), _CLOCKS),
    dot_product=_NO_DOT,
    fp16_arithmetic=_NO_FP16,
    caches=None,
    memory_mib=verified((1024,), _HARDWARE),
    memory_type=_NOW.unopened("LPDDR2", f"{_HARDWARE} gives the size only"),
    memcpy_mb_s=_FIRST.verified(1120, _SBC_BENCH),
    memset_mb_s=_FIRST.verified(1600, _SBC_BENCH),
    usb=verified("4 x USB 2.0", _HARDWARE),
    pcie=derived(None, f"{_HARDWARE}: none is listed"),
    edgetpu=_NO_EDGETPU,
    thermal=verified(
        (ThermalLimit(celsius=60, effect="soft limit: 1400 MHz becomes 1200 MHz"), *_LIMITS),
        f"{_THERMAL}; {_CLOCKS}: temp_soft_limit, 3A+ and 3B+ only",
    ),
    health=_HEALTH,
    device_tree=_names("Raspberry Pi 3 Model B Plus", "raspberrypi,3-model-b-plus"),
    end_of_life=None,
    systems=_SYSTEMS,
)

PI_4B = BoardProfile(
    name="pi-4b",
    title="Raspberry Pi 4 Model B",
    unreachable=None,
    soc=verified("BCM2711", _BCM2711),
    arch=_ARCH,
    cpu=_A72,
    dot_product=verified(False, _MEASURED_A72),
    fp16_arithmetic=verified(False, _MEASURED_A72),
    caches=_CACHES_A72,
    memory_mib=verified((1024, 2048, 4096, 8192), _HARDWARE),
    memory_type=verified("LPDDR4", _BCM2711),
    memcpy_mb_s=_FIRST.verified(2330, f"{_SBC_BENCH} (arm64 at 1800 MHz; 2550 at 1500 MHz)"),
    memset_mb_s=_FIRST.verified(3120, f"{_SBC_BENCH} (arm64 at 1800 MHz; 3430 at 1500 MHz)"),
    usb=verified("2 x USB 3.0, 2 x USB 2.0", _HARDWARE),
    pcie=_NO_PCIE_BCM2711,
    edgetpu=_NO_EDGETPU,
    thermal=verified(_LIMITS, _THERMAL),
    health=_HEALTH,
    device_tree=_names("Raspberry Pi 4 Model B", "raspberrypi,4-model-b"),
    end_of_life=None,
    systems=_SYSTEMS_PI_4B,
)

PI_400 = BoardProfile(
    name="pi-400",
    title="Raspberry Pi 400",
    unreachable=None,
    soc=verified("BCM2711", _BCM2711),
    arch=_ARCH,
    cpu=verified((CpuCluster(core="Cortex-A72", count=4, clock_mhz=1800, boost_mhz=None),), _KEYBOARDS),
    dot_product=derived(False, f"same processor as pi-4b; {_MEASURED_A72}"),
    fp16_arithmetic=derived(False, f"same processor as pi-4b; {_MEASURED_A72}"),
    caches=_CACHES_A72,
    memory_mib=verified((4096,), _KEYBOARDS),
    memory_type=verified("LPDDR4", _BCM2711),
    memcpy_mb_s=_FIRST.derived(2330, f"pi-4b at 1800 MHz, same processor and memory; {_SBC_BENCH}"),
    memset_mb_s=_FIRST.derived(3120, f"pi-4b at 1800 MHz, same processor and memory; {_SBC_BENCH}"),
    usb=verified("2 x USB 3.0, 1 x USB 2.0", _KEYBOARDS),
    pcie=_NO_PCIE_BCM2711,
    edgetpu=_NO_EDGETPU,
    thermal=verified(_LIMITS, _THERMAL),
    health=_HEALTH,
    device_tree=_names("Raspberry Pi 400", "raspberrypi,400"),
    end_of_life=None,
    systems=_SYSTEMS,
)

CM4 = BoardProfile(
    name="cm4",
    title="Raspberry Pi Compute Module 4",
    unreachable=None,
    soc=verified("BCM2711", _MODULES),
    arch=_ARCH,
    cpu=verified((CpuCluster(core="Cortex-A72", count=4, clock_mhz=1500, boost_mhz=None),), _MODULES),
    dot_product=derived(False, f"same processor as pi-4b; {_MEASURED_A72}"),
    fp16_arithmetic=derived(False, f"same processor as pi-4b; {_MEASURED_A72}"),
    caches=_CACHES_A72,
    memory_mib=verified((1024, 2048, 4096, 8192), _MODULES),
    memory_type=verified("LPDDR4", _BCM2711),
    memcpy_mb_s=_FIRST.derived(2550, f"pi-4b at 1500 MHz, same processor and memory; {_SBC_BENCH}"),
    memset_mb_s=_FIRST.derived(3430, f"pi-4b at 1500 MHz, same processor and memory; {_SBC_BENCH}"),
    usb=verified("2 x USB 2.0 on the CM4 IO Board", _MODULES),
    pcie=verified("PCIe 2.0 x1", _MODULES),
    edgetpu=_NO_EDGETPU,
    thermal=verified(_LIMITS, _THERMAL),
    health=_HEALTH,
    device_tree=_names("Raspberry Pi Compute Module 4", "raspberrypi,4-compute-module"),
    end_of_life=None,
    systems=_SYSTEMS,
)

PI_5 = BoardProfile(
    name="pi-5",
    title="Raspberry Pi 5",
    unreachable=None,
    soc=verified("BCM2712", _BCM2712),
    arch=_ARCH,
    cpu=_A76,
    dot_product=_DOT,
    fp16_arithmetic=_FP16,
    caches=_CACHES_A76,
    memory_mib=verified((1024, 2048, 4096, 8192, 16384), f"{_REVISIONS}: a04171, b04171, c04171, d04171, e04171"),
    memory_type=verified("LPDDR4X, 32 bit, 17 GB/s nominal", _BCM2712),
    memcpy_mb_s=_FIRST.verified(5270, f"{_SBC_BENCH} (5270 to 6025)"),
    memset_mb_s=_FIRST.verified(9985, f"{_SBC_BENCH} (9985 to 14060)"),
    usb=verified("2 x USB 3.0, 2 x USB 2.0", _HARDWARE),
    pcie=verified("PCIe 2.0 x1 (3.0 can be forced, uncertified)", f"{_DOCS}, raspberry-pi/pcie.adoc at 26f3f5f"),
    edgetpu=_NO_EDGETPU,
    thermal=verified(_LIMITS, _THERMAL),
    health=_HEALTH,
    device_tree=_names("Raspberry Pi 5 Model B", "raspberrypi,5-model-b"),
    end_of_life=None,
    systems=_SYSTEMS_BCM2712,
)

PI_500 = BoardProfile(
    name="pi-500",
    title="Raspberry Pi 500",
    unreachable=None,
    soc=verified("BCM2712", _BCM2712),
    arch=_ARCH,
    cpu=_A76,
    dot_product=_FIRST.derived(True, f"same processor as pi-5; {_CPUFP}"),
    fp16_arithmetic=_FIRST.derived(True, f"same processor as pi-5; {_CPUFP}"),
    caches=_CACHES_A76,
    memory_mib=verified((8192,), f"{_KEYBOARDS}; {_REVISIONS}: d04190"),
    memory_type=verified("LPDDR4X, 32 bit, 17 GB/s nominal", _BCM2712),
    memcpy_mb_s=_FIRST.derived(5270, f"pi-5, same processor and memory; {_SBC_BENCH}"),
    memset_mb_s=_FIRST.derived(9985, f"pi-5, same processor and memory; {_SBC_BENCH}"),
    usb=verified("2 x USB 3.0, 1 x USB 2.0", _KEYBOARDS),
    pcie=verified(None, f"{_KEYBOARDS}: M.2 M key on the 500+ only"),
    edgetpu=_NO_EDGETPU,
    thermal=verified(_LIMITS, _THERMAL),
    health=_HEALTH,
    device_tree=_names("Raspberry Pi 500", "raspberrypi,500"),
    end_of_life=None,
    systems=_SYSTEMS_BCM2712,
)

CM5 = BoardProfile(
    name="cm5",
    title="Raspberry Pi Compute Module 5",
    unreachable=None,
    soc=verified("BCM2712", _MODULES),
    arch=_ARCH,
    cpu=_A76,
    dot_product=_FIRST.derived(True, f"same processor as pi-5; {_CPUFP}"),
    fp16_arithmetic=_FIRST.derived(True, f"same processor as pi-5; {_CPUFP}"),
    caches=_CACHES_A76,
    memory_mib=verified((2048, 4096, 8192, 16384), _MODULES),
    memory_type=verified("LPDDR4X, 32 bit, 17 GB/s nominal", _BCM2712),
    memcpy_mb_s=verified(5892, "ThomasKaiser/sbc-bench, results/reviews/RPi-CM5-Rev1.0.md at 17a778b"),
    memset_mb_s=verified(9675, "ThomasKaiser/sbc-bench, results/reviews/RPi-CM5-Rev1.0.md at 17a778b"),
    usb=verified("2 x USB 3.0, 1 x USB 2.0 on the CM5 IO Board", _MODULES),
    pcie=verified("M.2 M key on the CM5 IO Board", _MODULES),
    edgetpu=_NO_EDGETPU,
    thermal=verified(_LIMITS, _THERMAL),
    health=_HEALTH,
    device_tree=_names("Raspberry Pi Compute Module 5", "Raspberry Pi Compute Module 5 Lite", "raspberrypi,5-compute-module"),
    end_of_life=None,
    systems=_SYSTEMS_BCM2712,
)

PI_3B = dataclasses.replace(
    PI_3B_PLUS,
    name="pi-3b",
    title="Raspberry Pi 3 Model B",
    soc=verified("BCM2837", f"{_HARDWARE} (later ones have the BCM2837B0: {_BCM2837B0})"),
    cpu=verified((CpuCluster(core="Cortex-A53", count=4, clock_mhz=1200, boost_mhz=None),), f"{_CLOCKS}: Pi3; {_MODULES}: CM3"),
    memory_mib=verified((1024,), f"{_REVISIONS}: a02082, a22082, a22083, a32082, a52082"),
    memory_type=None,
    memcpy_mb_s=None,
    memset_mb_s=None,
    thermal=verified(_LIMITS, _THERMAL),
    device_tree=_names("Raspberry Pi 3 Model B", "raspberrypi,3-model-b"),
)

PI_3A_PLUS = dataclasses.replace(
    PI_3B_PLUS,
    name="pi-3a-plus",
    title="Raspberry Pi 3 Model A+",
    soc=verified("BCM2837B0", _BCM2837B0),
    cpu=verified((CpuCluster(core="Cortex-A53", count=4, clock_mhz=1400, boost_mhz=None),), _BCM2837B0),
    memory_mib=verified((512,), f"{_REVISIONS}: 9020e0, 9020e1"),
    memory_type=None,
    memcpy_mb_s=_FIRST.derived(1120, f"pi-3b-plus, same processor; {_SBC_BENCH}"),
    memset_mb_s=_FIRST.derived(1600, f"pi-3b-plus, same processor; {_SBC_BENCH}"),
    usb=verified("1 x USB 2.0", _HARDWARE),
    device_tree=_names("Raspberry Pi 3 Model A Plus", "raspberrypi,3-model-a-plus"),
)

CM3_PLUS = dataclasses.replace(
    PI_3B_PLUS,
    name="cm3-plus",
    title="Raspberry Pi Compute Module 3+",
    soc=verified("BCM2837B0", _MODULES),
    cpu=verified((CpuCluster(core="Cortex-A53", count=4, clock_mhz=1200, boost_mhz=None),), _MODULES),
    memory_mib=verified((1024,), f"{_REVISIONS}: a02100"),
    memory_type=None,
    memcpy_mb_s=None,
    memset_mb_s=None,
    usb=verified("1 x USB 2.0 on the Compute Module IO Board", _MODULES),
    thermal=verified(_LIMITS, _THERMAL),
    device_tree=_names("Raspberry Pi Compute Module 3 Plus", "raspberrypi,3-plus-compute-module"),
)

CM4S = dataclasses.replace(
    CM4,
    name="cm4s",
    title="Raspberry Pi Compute Module 4S",
    soc=verified("BCM2711", _MODULES),
    cpu=verified((CpuCluster(core="Cortex-A72", count=4, clock_mhz=1500, boost_mhz=None),), _MODULES),
    memory_mib=verified((1024, 2048, 4096, 8192), _MODULES),
    usb=verified("1 x USB 2.0 on the Compute Module IO Board", _MODULES),
    pcie=derived(None, f"{_MODULES}: the SODIMM modules lead no PCIe out"),
    device_tree=_names("Raspberry Pi Compute Module 4S", "raspberrypi,4s-compute-module"),
)

PI_500_PLUS = dataclasses.replace(
    PI_500,
    name="pi-500-plus",
    title="Raspberry Pi 500+",
    memory_mib=verified((16384,), f"{_KEYBOARDS}; {_REVISIONS}: e04190"),
    pcie=verified("M.2 M key", _KEYBOARDS),
    # The documentation gives the 500 and the 500+ one name; the revision code tells them apart (devices/boards/detect.py).
    device_tree=_names("Raspberry Pi 500", "raspberrypi,500"),
)

RASPBERRY_PI_BOARDS = (
    *(PI_ZERO_2_W, PI_3B, PI_3A_PLUS, PI_3B_PLUS, CM3_PLUS),
    *(PI_4B, PI_400, CM4, CM4S),
    *(PI_5, PI_500, PI_500_PLUS, CM5),
)
