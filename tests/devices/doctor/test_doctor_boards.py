"""What doctor says of boards, from the files that they have in ``/proc``, ``/sys``, ``/dev`` and ``/run``. The texts are from device
trees, drivers and public reports; the probe reads them in a folder instead of ``/``.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devices.boards import throttling
from devices.doctor import examine, probe
from devices.doctor import health as doctor_health
from edge.bench.gauges import Gauges

SCRIPT = Path(probe.__file__).with_name("probe.sh")
MEMINFO = "MemTotal: 8245376 kB\nMemAvailable: 6184032 kB\nSwapFree: 0 kB\n"
A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CPU = "sys/devices/system/cpu"

Tree = dict[str, str]


def cpuinfo(*parts: str, tail: str = "") -> str:
    return "".join(f"processor\t: {i}\nFeatures\t: {A76}\nCPU part\t: {part}\n\n" for i, part in enumerate(parts)) + tail


def policy(first: int, last: int, now: int, most: int, midr: str, governor: str = "ondemand") -> Tree:
    place = f"{CPU}/cpufreq/policy{first}"
    return {
        f"{place}/related_cpus": " ".join(str(core) for core in range(first, last + 1)),
        f"{place}/scaling_cur_freq": str(now),
        f"{place}/cpuinfo_max_freq": str(most),
        f"{place}/scaling_governor": governor,
        f"{CPU}/cpu{first}/regs/identification/midr_el1": midr,
    }


PI_5: Tree = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.1\0",
    "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
    "proc/cpuinfo": cpuinfo(
        *["0xd0b"] * 4, tail="Revision\t: a04171\nSerial\t\t: 0\nModel\t\t: Raspberry Pi 5 Model B Rev 1.1\n"
    ),
    "proc/meminfo": MEMINFO.replace("8245376", "1021872").replace("6184032", "700000"),
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "56200",
    "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "0",
    **policy(0, 3, 1500000, 2400000, "0x00000000414fd0b1"),
}
ORANGE_PI_5: Tree = {
    "proc/device-tree/model": "Orange Pi 5\0",
    "proc/device-tree/compatible": "rockchip,rk3588s-orangepi-5\0rockchip,rk3588\0",
    "proc/cpuinfo": cpuinfo(*["0xd05"] * 4, *["0xd0b"] * 4, tail="Serial\t\t: 0\n"),
    "proc/meminfo": MEMINFO,
    "sys/class/thermal/thermal_zone0/type": "soc-thermal",
    "sys/class/thermal/thermal_zone0/temp": "46230",
    "sys/class/thermal/thermal_zone1/type": "bigcore0-thermal",
    "sys/class/thermal/thermal_zone1/temp": "81307",
    **policy(0, 3, 1008000, 1800000, "0x00000000412fd050", "performance"),
    **policy(4, 5, 2256000, 2400000, "0x00000000414fd0b0", "performance"),
    **policy(6, 7, 408000, 2304000, "0x00000000414fd0b0", "powersave"),
}
CORAL_USB: Tree = {
    f"sys/bus/usb/devices/2-1/{name}": text
    for name, text in {"idVendor": "1a6e", "idProduct": "089a", "speed": "5000", "busnum": "2", "devnum": "3"}.items()
}


def pci(identifier: str, address: str = "0001:01:00.0") -> Tree:
    vendor, device = identifier.split(":")
    return {f"sys/bus/pci/devices/{address}/vendor": f"0x{vendor}", f"sys/bus/pci/devices/{address}/device": f"0x{device}"}


def bind(root: Path, driver: str, address: str = "0001:01:00.0") -> None:
    place = root / "sys/bus/pci/drivers" / driver
    place.mkdir(parents=True)
    (root / "sys/bus/pci/devices" / address / "driver").symlink_to(place)


def write(root: Path, *trees: Tree) -> Path:
    for tree in trees:
        for name, text in tree.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text if text.endswith("\0") else f"{text}\n")
    return root


def program(root: Path, text: str) -> None:
    write(root, {"usr/bin/vcgencmd": f"#!/bin/sh\n{text}"})
    (root / "usr/bin/vcgencmd").chmod(0o755)


def diagnose(root: Path) -> examine.Diagnosis:
    said = subprocess.run(["/bin/sh", str(SCRIPT), str(root)], capture_output=True, text=True, check=True)
    assert said.stderr == ""
    return examine.examine("board", probe.parse(said.stdout, where="board"))


def messages(diagnosis: examine.Diagnosis, *checks: str) -> list[str]:
    return [f"{found.severity}: {found.message} [{found.fix}]" for found in diagnosis.findings if found.check in checks]


def test_a_pi_5_with_1_gb(tmp_path: Path) -> None:
    diagnosis = diagnose(write(tmp_path, PI_5))
    assert diagnosis.facts.profile == "pi-5" and diagnosis.facts.has("asimddp")
    text = diagnosis.to_text()
    assert "Raspberry Pi 5 Model B Rev 1.1 (pi-5), sold with 1024 MiB (revision a04171)" in text
    assert "4 x Cortex-A76" in text and "1500 of 2400 MHz, governor ondemand" in text
    assert "now nothing; since the start nothing" in text and messages(diagnosis, "power", "throttling") == []


def test_history_stands_beside_the_present(tmp_path: Path) -> None:
    flags = {name: "70001" for name in PI_5 if name.endswith("get_throttled")}
    diagnosis = diagnose(write(tmp_path, PI_5, flags))
    assert "now under-voltage; since the start under-voltage, frequency capped, throttled" in diagnosis.to_text()
    power, throttled = messages(diagnosis, "power", "throttling")
    assert power.startswith("warning: under-voltage now")
    assert throttled.startswith("warning: frequency capped, throttled at some time since the board started")


def test_all_clusters_are_looked_at(tmp_path: Path) -> None:
    diagnosis = diagnose(write(tmp_path, ORANGE_PI_5))
    found = [(c.cpus, c.core, c.clock_mhz, c.clock_max_mhz, c.governor) for c in diagnosis.facts.clusters]
    assert found == [
        ("0 1 2 3", "Cortex-A55", 1008.0, 1800.0, "performance"),
        ("4 5", "Cortex-A76", 2256.0, 2400.0, "performance"),
        ("6 7", "Cortex-A76", 408.0, 2304.0, "powersave"),
    ]
    assert diagnosis.to_dict()["board"]["clusters"][2]["governor"] == "powersave"
    text = diagnosis.to_text()
    assert "4 x Cortex-A55 1008 of 1800 MHz, governor performance" in text
    assert "2 x Cortex-A76 408 of 2304 MHz, governor powersave" in text
    assert "the frequency governor is performance and powersave" in messages(diagnosis, "governor")[0]  # cpu0 alone says nothing
    assert "81 °C" in messages(diagnosis, "temperature")[0]


def test_a_feature_counts_where_all_cores_have_it(tmp_path: Path) -> None:
    mixed = cpuinfo("0xd03", "0xd0b").replace(" asimddp", "", 1)
    assert not diagnose(write(tmp_path, {**ORANGE_PI_5, "proc/cpuinfo": mixed})).facts.has("asimddp")


@pytest.mark.parametrize(
    "tree", [PI_5, ORANGE_PI_5, {k: v for k, v in PI_5.items() if "cpufreq" not in k}], ids=["pi", "rk3588", "bare"]
)
def test_doctor_reads_what_benchmark_reads(tmp_path: Path, tree: Tree) -> None:
    write(tmp_path, tree)
    facts, sample, gauges = diagnose(tmp_path).facts, Gauges(tmp_path).read(), Gauges(tmp_path)
    assert doctor_health.temperature(facts) == sample.celsius
    assert max((c.clock_mhz or 0 for c in facts.clusters), default=None) == sample.clock_mhz
    assert max((c.clock_max_mhz or 0 for c in facts.clusters), default=None) == gauges.clock_max_mhz
    assert facts.first("governor") == gauges.governor
    assert throttling.bits(facts.first("throttled") or "") == sample.throttled


def test_cores_stand_for_policies_where_a_kernel_has_none(tmp_path: Path) -> None:
    tree = {name.replace("cpufreq/policy0", "cpu0/cpufreq"): text for name, text in PI_5.items() if "related_cpus" not in name}
    (cluster,) = diagnose(write(tmp_path, tree)).facts.clusters
    assert (cluster.cpus, cluster.core, cluster.clock_max_mhz) == ("0", "Cortex-A76", 2400.0)
    assert Gauges(tmp_path).clock_max_mhz == 2400.0


def without_flags(tree: Tree) -> Tree:
    return {name: text for name, text in tree.items() if not name.endswith("get_throttled")}


def test_vcgencmd_where_the_kernel_has_no_file(tmp_path: Path) -> None:
    program(tmp_path, 'test "$1" = get_throttled && echo throttled=0x50000')
    assert "at some time since the board started" in messages(diagnose(write(tmp_path, without_flags(PI_5))), "power")[0]


@pytest.mark.parametrize("says", ["VCHI initialization failed", "Can't open device file: /dev/vcio"])
@pytest.mark.parametrize("code", [0, 255])  # the second one ends with 0 on some firmware
def test_a_vcgencmd_that_fails_is_found(tmp_path: Path, says: str, code: int) -> None:
    program(tmp_path, f'echo "{says}" >&2\nexit {code}')
    (found,) = messages(diagnose(write(tmp_path, without_flags(PI_5))), "throttling")
    assert found.startswith(
        f"warning: vcgencmd is there and fails (exit code {code}: {says}): throttling and under-voltage cannot be"
    )
    (found,) = messages(diagnose(write(tmp_path, PI_5)), "throttling")  # the kernel's file says it all
    assert found.startswith(f"note: vcgencmd is there and fails (exit code {code}: {says})")


@pytest.mark.parametrize(
    ("identifier", "title", "runs"),
    [
        ("1e60:2864", "Hailo-8 or Hailo-8L", "HailoRT"),
        ("1e60:45c4", "Hailo-10H", "hailo-h10-all"),
        ("1e60:43a2", "Hailo-15L", "HailoRT"),
    ],
)
def test_hailo_is_there_and_not_for_edgekit(tmp_path: Path, identifier: str, title: str, runs: str) -> None:
    diagnosis = diagnose(write(tmp_path, PI_5, pci(identifier)))
    (found,) = messages(diagnosis, "accelerator")
    assert found.startswith(f"note: {title}") and "is present; edgekit cannot use it" in found and runs in found
    assert messages(diagnosis, "edgetpu") == []


def test_the_ai_camera_is_there_and_not_for_edgekit(tmp_path: Path) -> None:
    sensors = {"sys/bus/i2c/devices/10-001a/name": "imx500", "sys/bus/i2c/devices/10-0040/name": "rp2040-gpio-bridge"}
    (found,) = messages(diagnose(write(tmp_path, PI_5, sensors)), "accelerator")
    assert "IMX500 (Raspberry Pi AI Camera) is present; edgekit cannot use it" in found and "imx500-package" in found


def test_a_container_without_the_accelerator_is_named(tmp_path: Path) -> None:
    diagnosis = diagnose(write(tmp_path, PI_5, CORAL_USB, {".dockerenv": ""}))
    assert "note: this is a docker container" in messages(diagnosis, "container")[0]
    found = [line for line in messages(diagnosis, "edgetpu") if "not given" in line]
    assert (
        len(found) == 1
        and "docker container was not given /dev/bus/usb/002/003" in found[0]
        and "--device /dev/bus/usb" in found[0]
    )


def test_a_container_with_the_accelerator(tmp_path: Path) -> None:
    write(tmp_path, PI_5, CORAL_USB, {"run/.containerenv": "", "dev/bus/usb/002/003": ""})
    diagnosis = diagnose(tmp_path)
    assert "podman" in messages(diagnosis, "container")[0]
    assert not [line for line in messages(diagnosis, "edgetpu") if "not given" in line or "missing" in line]


def test_a_container_without_the_node_of_a_driver(tmp_path: Path) -> None:
    write(tmp_path, PI_5, pci("1ac1:089a"), {"run/systemd/container": "lxc"})
    bind(tmp_path, "apex")
    assert "this lxc container was not given /dev/apex_0" in " ".join(messages(diagnose(tmp_path), "edgetpu"))


def test_a_container_without_hailos_node_and_without_the_firmware(tmp_path: Path) -> None:
    write(tmp_path, without_flags(PI_5), pci("1e60:2864"), {".dockerenv": ""})
    bind(tmp_path, "hailo")
    program(tmp_path, 'echo "Can\'t open device file: /dev/vcio"; exit 1')
    diagnosis = diagnose(tmp_path)
    assert "not given /dev/hailo0" in messages(diagnosis, "accelerator")[1]
    assert "[docker run --device /dev/vcio …]" in messages(diagnosis, "throttling")[0]
    write(tmp_path, {"dev/hailo0": ""})
    assert len(messages(diagnose(tmp_path), "accelerator")) == 1


def test_an_accelerator_without_a_node_outside_a_container(tmp_path: Path) -> None:
    diagnosis = diagnose(write(tmp_path, PI_5, CORAL_USB))
    text = " ".join(messages(diagnosis, "edgetpu"))
    assert "/dev/bus/usb/002/003 is missing: unplug it" in text and messages(diagnosis, "container") == []
    assert "end of life since July 2024" in text and "feranick/libedgetpu (one maintainer's, not Google's)" in text


def test_a_500_plus(tmp_path: Path) -> None:
    tree = {
        **PI_5,
        "proc/device-tree/model": "Raspberry Pi 500 Rev 1.0\0",
        "proc/device-tree/compatible": "raspberrypi,500\0brcm,bcm2712\0",
        "proc/cpuinfo": cpuinfo(*["0xd0b"] * 4, tail="Revision\t: e04190\nModel\t\t: Raspberry Pi 500 Rev 1.0\n"),
    }
    assert diagnose(write(tmp_path, tree)).facts.profile == "pi-500-plus"
