"""What an emulated board's kernel would say: ``/proc/cpuinfo``, ``/proc/meminfo`` and the part of ``/sys`` that programs read."""

from __future__ import annotations

from pathlib import Path

from ..doctor.probe import VIRTUAL_MARK
from .models import Architecture, VirtualModel

CORES = 4


def write(folder: Path, model: VirtualModel, architecture: Architecture) -> None:
    """Write the fakes below ``folder``: ``cpuinfo``, ``meminfo`` and ``sys/``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpuinfo").write_text(_cpuinfo(model, architecture), "utf-8")
    total = model.memory_kib
    (folder / "meminfo").write_text(
        f"MemTotal: {total:>14} kB\nMemFree: {total // 2:>15} kB\nMemAvailable: {total * 3 // 4:>10} kB\n"
        "Buffers:           20000 kB\nCached:           200000 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n",
        "utf-8",
    )
    for name, text in _sys(model).items():
        path = folder / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def _cpuinfo(model: VirtualModel, architecture: Architecture) -> str:
    features = architecture.features or model.features
    name = f"model name\t: ARMv7 Processor rev {model.revision} (v7l)\n" if architecture.features else ""
    cores = "".join(
        f"processor\t: {core}\n{name}BogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: {7 if architecture.features else 8}\nCPU variant\t: {model.variant}\nCPU part\t: {model.part}\n"
        f"CPU revision\t: {model.revision}\n\n"
        for core in range(CORES)
    )
    return f"{cores}Revision\t: {model.code}\nSerial\t\t: 0000000000000000\nModel\t\t: {model.title}\n"


def _sys(model: VirtualModel) -> dict[str, str]:
    cpu = "devices/system/cpu"
    every = f"0-{CORES - 1}\n"
    files = {f"{cpu}/{name}": every for name in ("possible", "present", "online")}
    files[f"{cpu}/kernel_max"] = "255\n"
    for core in range(CORES):
        clocks = {"min": 600000, "max": model.clock_khz}
        for kind, khz in clocks.items():
            files[f"{cpu}/cpu{core}/cpufreq/scaling_{kind}_freq"] = f"{khz}\n"
            files[f"{cpu}/cpu{core}/cpufreq/cpuinfo_{kind}_freq"] = f"{khz}\n"
        files[f"{cpu}/cpu{core}/cpufreq/scaling_governor"] = "ondemand\n"
        topology = {
            "core_id": f"{core}\n",
            "physical_package_id": "0\n",
            "cluster_id": "0\n",
            "thread_siblings_list": f"{core}\n",
        }
        topology |= dict.fromkeys(("core_siblings_list", "package_cpus_list", "cluster_cpus_list"), every)
        files |= {f"{cpu}/cpu{core}/topology/{name}": text for name, text in topology.items()}
    files["firmware/devicetree/base/model"] = f"{model.title}\0"
    files["firmware/devicetree/base/compatible"] = "".join(f"{word}\0" for word in (*model.compatible.split(), VIRTUAL_MARK))
    return files
