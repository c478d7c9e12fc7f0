"""The board's file system: Debian 12 packages, unpacked and not installed, so that nothing has to be emulated to build it.

What the packages' scripts would have done, and a board needs, is done here in a few lines. About twenty seconds; kept as a
template from which boards are copied.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from ..errors import VirtualBoardError
from .locks import locked
from .models import Architecture

SUITE = "bookworm"
PACKAGES = ("python3", "openssh-server", "procps", "sudo")
USER = "pi"
_TIMEOUT_S = 1800
_LEFT_OUT = ("./usr/share/man/*", "./usr/share/doc/*", "./usr/share/locale/*", "./usr/share/i18n/*")


def template(folder: Path, architecture: Architecture, report: Callable[[str], None]) -> Path:
    """Return a folder with an unpacked system, which is made if it is not there. Raises VirtualBoardError."""
    target = folder / f"{SUITE}-{architecture.debian}"
    with locked(folder / f".{target.name}.lock", report):
        return target if (target / ".complete").exists() else _make(target, architecture, report)


def _make(target: Path, architecture: Architecture, report: Callable[[str], None]) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    partial = target.with_name(f".{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    report(f"fetching and unpacking Debian {SUITE} {architecture.debian} (once, about 60 MB to fetch)")
    packages = ",".join((*PACKAGES, *architecture.packages))
    bootstrap = ["debootstrap", "--foreign", f"--arch={architecture.debian}", "--variant=minbase", f"--include={packages}"]
    _run([*bootstrap, SUITE, str(partial)], f"debootstrap failed; its log is {partial}/debootstrap/debootstrap.log")
    archives = sorted((partial / "var/cache/apt/archives").glob("*.deb"))
    if not archives:
        raise VirtualBoardError(f"debootstrap left no packages in {partial}")
    for archive in archives:
        _unpack(archive, partial)
    _finish(partial, architecture)
    (partial / ".complete").touch()
    partial.rename(target)
    return target


def copy(source: Path, target: Path) -> None:
    """Copy a template, with owners and modes. Raises VirtualBoardError."""
    _run(["cp", "-a", "--reflink=auto", str(source), str(target)], f"{target} could not be made")


def _unpack(archive: Path, root: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as packed:
        # The usr-merged links of the first package must stay links.
        command = ["tar", "-x", "-C", str(root), "--keep-directory-symlink", *(f"--exclude={pattern}" for pattern in _LEFT_OUT)]
        code = subprocess.call(command, stdin=packed.stdout)
    if code != 0 or packed.returncode != 0:
        raise VirtualBoardError(f"{archive.name} could not be unpacked; run the same command again")


def _finish(root: Path, architecture: Architecture) -> None:
    for path in (root / "var/cache/apt/archives").glob("*.deb"):
        path.unlink()
    shutil.rmtree(root / "debootstrap", ignore_errors=True)
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    with (root / "etc/passwd").open("a") as stream:
        stream.write(f"sshd:x:104:65534::/run/sshd:/usr/sbin/nologin\n{USER}:x:1000:1000::/home/{USER}:/bin/bash\n")
    with (root / "etc/group").open("a") as stream:
        stream.write(f"{USER}:x:1000:\n")
    names = [line.partition(":")[0] for line in (root / "etc/passwd").read_text().splitlines()]
    # `*` is an account without a password; with `!` it would be locked, and sshd would refuse the key too.
    _write(root / "etc/shadow", "".join(f"{name}:*:19000:0:99999:7:::\n" for name in names), 0o640)
    for kind in ("account", "auth", "password", "session", "session-noninteractive"):
        _write(root / f"etc/pam.d/common-{kind}", f"{kind.partition('-')[0]} required pam_permit.so\n", 0o644)
    (root / "etc/sudoers.d").mkdir(mode=0o750, exist_ok=True)
    _write(root / f"etc/sudoers.d/010_{USER}-nopasswd", f"{USER} ALL=(ALL) NOPASSWD: ALL\n", 0o440)
    if (root / "proc").is_symlink():  # debootstrap leaves a link to the host's /proc: mounting there would hit the host
        (root / "proc").unlink()
    for name in ("proc", "sys", "dev", "run/sshd", "root", f"home/{USER}/.ssh", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, base in (("etc/profile", "profile"), ("root/.bashrc", "dot.bashrc")):
        if not (root / name).exists():
            shutil.copy(root / "usr/share/base-files" / base, root / name)
    for path in (root / f"home/{USER}", root / f"home/{USER}/.ssh"):
        os.chown(path, 1000, 1000)
    os.chmod(root / f"home/{USER}/.ssh", 0o700)
    _write(root / "etc/hostname", "raspberrypi\n", 0o644)
    _write(root / "etc/hosts", "127.0.0.1 localhost raspberrypi\n", 0o644)
    if not (root / "usr/bin/awk").exists():
        (root / "usr/bin/awk").symlink_to("mawk")
    libraries = root / "usr/lib" / architecture.libraries
    for name in ("blas", "lapack"):  # numpy's, which update-alternatives would have linked
        for library in (libraries / name).glob(f"lib{name}.so.3"):
            (libraries / library.name).symlink_to(f"{name}/{library.name}")


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(mode)


def _run(command: list[str], problem: str) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VirtualBoardError(f"{problem} ({error})") from error
    if done.returncode != 0:
        lines = re.findall(r"^(?:E|cp|W): ?.*$", f"{done.stdout}\n{done.stderr}", re.MULTILINE)
        raise VirtualBoardError(f"{problem}: {lines[-1] if lines else f'code {done.returncode}'}")
