"""Coral boards and Edge TPU accelerators.

Not to be confused with the "Coral NPU" of Synaptics' SL2610 boards: other hardware, another toolchain.
"""

from __future__ import annotations

from .coral_end import END_OF_LIFE
from .records import AcceleratorProfile, BoardProfile, CheckedOn, CpuCluster, ThermalLimit

_FIRST = CheckedOn(date="2026-11-20")
verified, derived = _FIRST.verified, _FIRST.derived
_NOW = CheckedOn(date="2026-11-30")

_SOM = "Coral System-on-Module datasheet 1.11 (docslib.org/doc/11229095)"
_MICRO = "https://coral.ai/static/files/Coral-Dev-Board-Micro-datasheet.pdf"
_APEX = "google/gasket-driver, apex_driver.c"
_DETECT = "adafruit/Adafruit_Python_PlatformDetect at 52f61e4"
_SRAM = "applied-ee.github.io/embedded, Coral Edge TPU: 8 MB of SRAM; of which compiler logs have up to 8.05 MiB left"
_MODULE = "Coral Accelerator Module datasheet 1.4: PCIe Gen2 x1 or USB 2.0"
_BOOT_LOG = "boot logs of the board ('Machine model: Google Coral MT8167', Linux 4.19.125-mtk, CPU 0x410fd041)"

_APEX_LIMITS = verified(
    (
        ThermalLimit(celsius=85, effect="Edge TPU clock falls to 250 MHz"),
        ThermalLimit(celsius=90, effect="Edge TPU clock falls to 125 MHz"),
        ThermalLimit(celsius=95, effect="Edge TPU clock falls to 62.5 MHz"),
        ThermalLimit(celsius=100, effect="the module is shut down"),
    ),
    f"{_APEX}; google-coral/edgetpu#197",
)
_APEX_HEALTH = verified(("/sys/class/apex/apex_0/temp", "/sys/class/apex/apex_0/trip_point0_temp"), _APEX)

_END_SOURCE = "codyogden/killedbygoogle#1641 (the maker's notice for Dev Board and SoM that it links was not opened)"
_ENDED = _NOW.verified(END_OF_LIFE, _END_SOURCE)
_ENDED_TOO = _NOW.derived(
    END_OF_LIFE, f"{_END_SOURCE}; Frigate's documentation: 'no longer recommended for new Frigate installations'"
)

DEV_BOARD = BoardProfile(
    name="coral-dev-board",
    title="Coral Dev Board",
    unreachable=None,
    soc=verified("NXP i.MX 8M", _SOM),
    arch=verified("aarch64", _SOM),
    cpu=verified((CpuCluster(core="Cortex-A53", count=4, clock_mhz=1500, boost_mhz=None),), _SOM),
    dot_product=_NOW.derived(False, "no asimddp in /proc/cpuinfo of another Cortex-A53 (hrw/arm-socs-table#101)"),
    fp16_arithmetic=_NOW.derived(False, "no asimdhp in /proc/cpuinfo of another Cortex-A53 (hrw/arm-socs-table#101)"),
    caches=None,
    memory_mib=verified((1024, 2048, 4096), _SOM),
    memory_type=verified("LPDDR4", _SOM),
    memcpy_mb_s=derived(2230, "same SoC on SolidRun's HummingBoard Pulse at 1500 MHz; ThomasKaiser/sbc-bench, results/27FC.txt"),
    memset_mb_s=derived(9900, "same SoC on SolidRun's HummingBoard Pulse at 1500 MHz; ThomasKaiser/sbc-bench, results/27FC.txt"),
    usb=verified("USB 3.0", _SOM),
    pcie=None,
    edgetpu=verified("PCIe", _SOM),
    thermal=_NOW.verified(
        (
            ThermalLimit(celsius=75, effect="first passive trip: the Arm cores are throttled"),
            ThermalLimit(celsius=80, effect="second passive trip"),
        ),
        "Linux, imx8mq-phanbell.dts, &cpu_thermal",
    ),
    health=verified(("/sys/class/thermal/thermal_zone0/temp", "/sys/class/apex/apex_0/temp"), _APEX),
    device_tree=_NOW.verified(
        ("Freescale i.MX8MQ Phanbell", "Google i.MX8MQ Phanbell", "google,imx8mq-phanbell"),
        f"{_DETECT}; Linux, imx8mq-phanbell.dts",
    ),
    end_of_life=_ENDED,
    systems=verified(("mendel",), _SOM),
)

DEV_BOARD_MINI = BoardProfile(
    name="coral-dev-board-mini",
    title="Coral Dev Board Mini",
    unreachable=None,
    soc=_NOW.verified("MediaTek MT8167", f"{_BOOT_LOG}; that it is the MT8167S is from memory"),
    arch=_NOW.derived("aarch64", f"{_BOOT_LOG}: 0xd04 is the Cortex-A35, 64-bit Armv8-A"),
    cpu=None,
    dot_product=None,
    fp16_arithmetic=None,
    caches=None,
    memory_mib=None,
    memory_type=None,
    memcpy_mb_s=None,
    memset_mb_s=None,
    usb=None,
    pcie=None,
    edgetpu=derived("USB 2.0-class internal link", "google-coral/edgetpu#593: inception_v4 in 1403 ms is 25 MB/s of weights"),
    thermal=None,
    health=None,
    # Not mediatek,mt8167: that is the processor, which other boards have too (Linux, mt8167-pumpkin.dts: "Pumpkin MT8167").
    device_tree=_NOW.verified(("Google Coral MT8167",), _BOOT_LOG),
    end_of_life=_ENDED_TOO,
    systems=derived(("mendel",), "the Coral boards' own system"),
)

DEV_BOARD_MICRO = BoardProfile(
    name="coral-dev-board-micro",
    title="Coral Dev Board Micro",
    unreachable=(
        "a microcontroller: 64 MB of memory for a network of 56 MB, FreeRTOS and TFLite Micro in C++ only,"
        " no Linux, no Python, no SSH"
    ),
    soc=verified("NXP i.MX RT1176", _MICRO),
    arch=derived("armv7e-m", "Cortex-M7 and Cortex-M4 are Armv7E-M"),
    cpu=verified(
        (
            CpuCluster(core="Cortex-M7", count=1, clock_mhz=800, boost_mhz=None),
            CpuCluster(core="Cortex-M4", count=1, clock_mhz=400, boost_mhz=None),
        ),
        _MICRO,
    ),
    dot_product=None,
    fp16_arithmetic=None,
    caches=None,
    memory_mib=verified((64,), _MICRO),
    memory_type=verified("SDRAM", _MICRO),
    memcpy_mb_s=None,
    memset_mb_s=None,
    usb=None,
    pcie=None,
    edgetpu=verified("on board", _MICRO),
    thermal=None,
    health=None,
    device_tree=None,
    end_of_life=_ENDED_TOO,
    systems=None,
)

CORAL_USB = AcceleratorProfile(
    name="coral-usb",
    title="Coral USB Accelerator",
    link=_NOW.derived(
        "USB 3.1 Gen 1; falls back to USB 2.0",
        "Coral Accelerator Module datasheet for USB 3: 3.1 Gen 1; on USB 2: measured in aallan/benchmarking-ml-on-the-edge",
    ),
    memory_mib=_NOW.verified(8, _SRAM),
    clocks_mhz=verified((250, 500), "libedgetpu1-std and libedgetpu1-max; google-coral/edgetpu"),
    identifiers=_NOW.verified(
        ("USB 1a6e:089a before the first use", "USB 18d1:9302 after it"), "https://docs.frigate.video/troubleshooting/edgetpu"
    ),
    thermal=_NOW.verified(
        (), "Coral Accelerator Module datasheet, contents: 4.5.2 frequency scaling is for PCIe only, 4.5.3 fixed for USB"
    ),
    health=verified((), "google-coral/edgetpu#102, #859: no interface to read its temperature"),
    end_of_life=_ENDED_TOO,
)

CORAL_M2 = AcceleratorProfile(
    name="coral-m2",
    title="Coral M.2 Accelerator (A+E or B+M key)",
    link=_NOW.verified("PCIe 2.0 x1 (dual: two of them)", f"{_MODULE}; M.2 Accelerator with Dual Edge TPU datasheet 1.3"),
    memory_mib=_NOW.verified(8, _SRAM),
    clocks_mhz=verified((500, 250, 125, 62.5), f"{_APEX}; google-coral/edgetpu#197"),
    identifiers=verified(("PCI 1ac1:089a", "/dev/apex_0"), _APEX),
    thermal=_APEX_LIMITS,
    health=_APEX_HEALTH,
    end_of_life=_ENDED_TOO,
)

CORAL_PCIE = AcceleratorProfile(
    name="coral-pcie",
    title="Coral Mini PCIe Accelerator",
    link=_NOW.derived("PCIe 2.0 x1", f"{_MODULE}; https://coral.ai/products: half-size Mini PCIe"),
    memory_mib=_NOW.verified(8, _SRAM),
    clocks_mhz=verified((500, 250, 125, 62.5), f"{_APEX}; google-coral/edgetpu#197"),
    identifiers=verified(("PCI 1ac1:089a", "/dev/apex_0"), _APEX),
    thermal=_APEX_LIMITS,
    health=_APEX_HEALTH,
    end_of_life=_ENDED_TOO,
)

CORAL_BOARDS = (DEV_BOARD, DEV_BOARD_MINI, DEV_BOARD_MICRO)
CORAL_ACCELERATORS = (CORAL_USB, CORAL_M2, CORAL_PCIE)
