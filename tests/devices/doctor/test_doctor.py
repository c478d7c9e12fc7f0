from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from devices.boards import throttling
from devices.boards.detect import arch, cores
from devices.doctor import examine, probe
from devices.doctor.symptoms import Symptom
from devices.errors import RemoteError
from devices.transport.shell import Shell

PI_4 = """\
probe\t1
model\tRaspberry Pi 4 Model B Rev 1.4
revision\tc03114
compatible\traspberrypi,4-model-b brcm,bcm2711
cpu_parts\t      4 0xd08;
cpu_features\tfp asimd evtstrm crc32 cpuid
machine\taarch64
userland_bits\t64
kernel\tLinux 6.6.31+rpt-rpi-v8
os_name\tDebian GNU/Linux 12 (bookworm)
libc\tglibc 2.36
user\tpi
python\t3.11.2
python_venv\tyes
memory_total_kib\t3885396
memory_available_kib\t3400000
swap_free_kib\t100000
disk_free_kib\t20000000
disk_device\t/dev/mmcblk0p2
governor\tondemand
cluster\t600000 1800000 ondemand 0x00000000410fd083 0 1 2 3
temperature\tcpu-thermal 48686
vcgencmd\t/usr/bin/vcgencmd
throttled\tthrottled=0x0
done\t1
"""


def findings(text: str) -> dict[str, Symptom]:
    found = examine.examine("pi", probe.parse(text, where="pi")).findings
    return {f"{finding.check}/{finding.severity}": finding for finding in found}


def changed(**answers: str | None) -> str:
    lines = [line for line in PI_4.splitlines()[:-1] if line.partition("\t")[0] not in answers]
    return "\n".join([*lines, *(f"{key}\t{value}" for key, value in answers.items() if value is not None), "done\t1"])


def test_a_healthy_board() -> None:
    diagnosis = examine.examine("pi@kitchen", probe.parse(PI_4, where="pi@kitchen"))
    assert diagnosis.healthy
    assert diagnosis.facts.profile == "pi-4b"
    assert (diagnosis.facts.python, diagnosis.facts.glibc) == ((3, 11), (2, 36))
    assert diagnosis.facts.memory_available_mib == 3417  # swap counts
    assert [finding.severity for finding in diagnosis.findings] == ["note"]  # the governor
    text = diagnosis.to_text()
    assert "Raspberry Pi 4 Model B Rev 1.4 (pi-4b), sold with 4096 MiB (revision c03114)" in text
    assert "600 of 1800 MHz, governor ondemand" in text and "now nothing; since the start nothing" in text
    assert "4 x Cortex-A72" in text and "49 °C" in text
    assert diagnosis.to_dict()["healthy"] is True


@pytest.mark.parametrize(
    ("answers", "key", "words"),
    [
        ({"python": "3.9.2"}, "python/error", "Bookworm"),
        ({"python": None}, "python/error", "no python3"),
        ({"python": "3.15.0"}, "interpreter/error", "3.15"),
        ({"python_venv": None}, "python/error", "venv"),
        ({"libc": None}, "interpreter/error", "glibc"),
        ({"machine": "armv7l", "userland_bits": "32"}, "interpreter/error", "python3-numpy"),
        ({"machine": "armv6l", "userland_bits": "32"}, "interpreter/error", "64-bit"),
        ({"disk_free_kib": "100000"}, "disk/error", "MiB free"),
        ({"home_writable": "no"}, "disk/error", "cannot be written"),
        ({"memory_available_kib": "50000", "swap_free_kib": "0"}, "memory/warning", "MiB of memory"),
        ({"throttled": "throttled=0x50005"}, "power/warning", "under-voltage now"),
        ({"throttled": "throttled=0x50000"}, "power/warning", "since the board started"),
        ({"throttled": "throttled=0x4"}, "throttling/warning", "throttled now"),
        ({"throttled": "throttled=0x70001"}, "power/warning", "under-voltage now"),
        (
            {"throttled": "throttled=0x70001"},
            "throttling/warning",
            "frequency capped, throttled at some time since the board started",
        ),
        (
            {"throttled": "throttled=0x60002"},
            "throttling/warning",
            "frequency capped now; throttled at some time since the board",
        ),
        (
            {"throttled": None, "vcgencmd_failed": "exit code 255: VCHI initialization failed"},
            "throttling/warning",
            "fails (exit code 255",
        ),
        ({"vcgencmd_failed": "exit code 255: VCHI initialization failed"}, "throttling/note", "usermod -aG video pi"),
        ({"vcgencmd": None, "throttled": None}, "throttling/note", "vcgencmd"),
        ({"temperature": "cpu-thermal 84000"}, "temperature/warning", "84 °C"),
        ({"edgetpu_usb": "18d1:9302 5000 /dev/bus/usb/002/003 denied"}, "edgetpu/warning", "may not be used"),
        ({"edgetpu_pci": "0x1ac1:0x089a "}, "edgetpu/warning", "apt-get install gasket-dkms"),
        ({"edgetpu_pci": "0x1ac1:0x089a "}, "edgetpu/note", "end of life since July 2024"),
        (
            {"edgetpu_pci": "0x1ac1:0x089a ", "kernel": "Linux 6.12.34+rpt-rpi-v8", "gasket": "1.0-18"},
            "edgetpu/warning",
            "(1.0-18 is installed): Google's last gasket-dkms, 1.0-18, does not build on kernel 6.12 and later, and this is Linux 6.12.34",
        ),
        ({"accelerator": "PCI 1e60:ffff hailo"}, "accelerator/note", "(PCI 1e60:ffff); edgekit cannot use it"),
        ({"compatible": "raspberrypi,4-model-b edgekit,virtual-board"}, "virtual/note", "speed"),
    ],
)
def test_what_is_wrong_is_found(answers: dict[str, str | None], key: str, words: str) -> None:
    found = findings(changed(**answers))
    assert key in found
    assert words in f"{found[key].message} {found[key].fix}"


def test_a_usb_accelerator_in_a_slow_socket() -> None:
    answers = {"edgetpu_usb": "1a6e:089a 480 /dev/bus/usb/001/003 writable", "libedgetpu": "/usr/lib/libedgetpu.so.1"}
    assert "USB 3" in findings(changed(**answers))["edgetpu/warning"].message


@pytest.mark.parametrize("text", ["", "garbage", "probe\t1\nmodel\tx", "\x1b[31mdone\t1"])
def test_an_incomplete_answer_is_no_board(text: str) -> None:
    with pytest.raises(RemoteError, match="POSIX shell"):
        probe.parse(text, where="pi")


def test_the_probe_works_on_every_target(target: Any, shell: Shell) -> None:
    facts = probe.ask(shell)
    assert facts.python is not None and facts.python >= (3, 9)
    assert facts.memory_total_mib is not None and facts.disk_free_mib is not None
    assert facts.virtual is (target.name == "virtual")
    if facts.virtual:
        assert (facts.profile, facts.arch, facts.python, facts.glibc) == ("pi-5", "aarch64", (3, 11), (2, 36))
        assert examine.examine(shell.name, facts).healthy


def test_the_probe_is_posix_and_changes_nothing(tmp_path: Path) -> None:
    script = Path(probe.__file__).with_name("probe.sh")
    home = tmp_path / "home"
    home.mkdir()
    result = subprocess.run(
        ["/bin/sh", str(script)], env={"PATH": "/usr/bin:/bin", "HOME": str(home)}, capture_output=True, text=True, check=False
    )
    assert "done\t1" in result.stdout
    assert list(home.iterdir()) == []
    assert subprocess.run(["/bin/sh", "-n", str(script)], check=False).returncode == 0


def test_throttling_flags() -> None:
    assert throttling.now_and_since_start("throttled=0x0") == ((), ())
    assert throttling.now_and_since_start("throttled=0x50005") == (("under-voltage", "throttled"), ("under-voltage", "throttled"))
    assert throttling.now_and_since_start("throttled=0x80008") == (("soft temperature limit",), ("soft temperature limit",))
    assert throttling.now_and_since_start("VCHI initialization failed") is None


def test_cores_and_architecture() -> None:
    assert cores("      4 0xd05;      4 0xd0b;") == "4 x Cortex-A55 + 4 x Cortex-A76"
    assert cores("      4 0xfff;") is None
    assert cores("") is None
    assert arch("aarch64", "32") == "armv7l"  # a 64-bit kernel below a 32-bit system
    assert arch("aarch64", "64") == "aarch64"
    assert arch("armv7l", "32") == "armv7l"
