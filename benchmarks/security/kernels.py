"""Does the box hold on other kernels, and on aarch64? Each is booted and tried, in turn.

    python -m benchmarks.security.kernels [--machine NAME] [--suite NAME] [--image FILE]

A machine is emulated by qemu, its processor too, with a kernel of Debian and a root that holds
Python and these sources. The packages come from where this machine's apt gets Debian's. Prints who
started the box on which kernel, how far it held, and what the probe got otherwise than it must;
ends with 1 where that is anything, or the self-test's word is not the one due on this kernel.
`--image` boots a kernel of one's own as well, with virtio and ext4 built in. Needs Debian and root,
and says so where it has not.
"""

import argparse
import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from app.confinement import IMPORT_ROOT
from benchmarks.security.kernels_inside import ANSWER, SETTINGS
from worker.kernel.landlock import NEWEST_ABI_USED

# Program: Debian's package of it.
NEEDED = {
    "apt-get": "apt",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "cpio": "cpio",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-system-aarch64": "qemu-system-arm",
}
# The first Debian whose Python runs us; which kernel is booted has nothing to do with it.
ROOT_SUITE, ROOT_PACKAGES = "bookworm", ("python3", "busybox-static", "libc-bin")
SOURCES = ("app", "worker", "tests", "benchmarks")
PYTEST = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments")
FOLDERS = ("proc", "sys", "dev", "tmp", "root")
USERS = "root:x:0:0::/root:/bin/sh\nsomebody:x:1000:1000::/tmp:/bin/sh\n"
# To find a disk and to read it, each after those it needs; kernels have some of them built in.
MODULES = (
    *("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"),
    *("virtio_blk", "crc16", "crc32c_generic", "libcrc32c", "mbcache", "jbd2", "ext4"),
)
# Emulating a processor takes a hundred times as long as having it.
LIMIT_S = 3600
PACKAGES = Path(pytest.__file__).parents[1]
COMPILED = shutil.ignore_patterns("__pycache__")


@dataclass(frozen=True)
class Machine:
    """How qemu makes one, and what Debian calls it."""

    debian: str
    qemu: tuple[str, ...]
    console: str


MACHINES = {
    "x86_64": Machine("amd64", ("qemu-system-x86_64", "-cpu", "max"), "ttyS0"),
    "aarch64": Machine(
        "arm64", ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"), "ttyAMA0"
    ),
}
# 5.10 without Landlock, 6.1 with its edition 2, 6.12 with 6, and the newest there is.
SUITES = ("bullseye", "bookworm", "trixie")
FIND_THE_DISK = """#!/bin/busybox sh
busybox mount -t devtmpfs none /dev
for module in /modules/*; do [ -f "$module" ] && busybox insmod "$module"; done
until [ -b /dev/vda ]; do busybox sleep 0.1; done
busybox mount -t ext4 /dev/vda /disk
exec busybox switch_root /disk /start
"""
START = """#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=/srv/penjing:/srv/pytest
busybox mount -t proc none /proc
busybox mount -t sysfs none /sys
busybox mount -t devtmpfs none /dev
busybox mkdir /dev/shm
busybox mount -t tmpfs none /dev/shm
busybox ip link set lo up
cd /srv/penjing && python3 -m benchmarks.security.kernels_inside
busybox poweroff -f
"""


class Missing(Exception):
    """What this machine lacks, and how to get it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--machine", choices=MACHINES, action="append")
    parser.add_argument("--suite", choices=SUITES, action="append")
    parser.add_argument("--image", type=Path, action="append", default=[])
    given = parser.parse_args()
    try:
        site = debians_site()
    except Missing as missing:
        print(f"Skipped: {missing}.")
        return
    answers: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        for name in given.machine or MACHINES:
            make = Maker(MACHINES[name], site, Path(folder, name))
            suites = given.suite or (() if given.image else SUITES)
            kernels = [*map(make.kernel, suites), *map(make.own_kernel, given.image)]
            disk = make.disk()
            answers += [each for kernel in kernels for each in booted(make.machine, kernel, disk)]
    show(answers)
    sys.exit(0 if all(is_as_due(answer) for answer in answers) else 1)


def debians_site() -> str:
    """Where this machine's apt gets Debian's packages.

    Raises: Missing.
    """
    if absent := [package for name, package in NEEDED.items() if shutil.which(name) is None]:
        raise Missing(f"it needs {', '.join(absent)} (apt install)")
    if os.getuid() != 0:
        raise Missing("only root can make the roots of other machines")
    told = output_of("apt-get", "indextargets", "--format", "$(LABEL) $(SITE)")
    sites = [line.split()[1] for line in told.splitlines() if line.startswith("Debian ")]
    if not sites:
        raise Missing("apt gets no packages of Debian here, or does not know them (apt update)")
    return sites[0]


@dataclass(frozen=True)
class Kernel:
    """An image, and what it needs to find its disk."""

    image: Path
    start: Path


@dataclass(frozen=True)
class Maker:
    """Makes what a machine is booted from, in a folder."""

    machine: Machine
    site: str
    folder: Path

    def kernel(self, suite: str) -> Kernel:
        """Debian's of this suite, which has its drivers as modules."""
        unpacked = self.unpacked(suite, f"linux-image-{self.machine.debian}")
        modules = {path.name.partition(".ko")[0]: path for path in unpacked.rglob("*.ko*")}
        found = [modules[name] for name in MODULES if name in modules]
        return Kernel(next(unpacked.glob("boot/vmlinuz-*")), self.start(suite, found))

    def own_kernel(self, image: Path) -> Kernel:
        return Kernel(image, self.start(image.name, []))

    def start(self, name: str, modules: list[Path]) -> Path:
        """An archive of a shell and modules, from which the kernel goes on to the disk."""
        tree = self.folder / f"start-{name}"
        (tree / "modules").mkdir(parents=True)
        for folder in ("dev", "disk"):
            (tree / folder).mkdir()
        for number, path in enumerate(modules):
            content = path.read_bytes()
            is_packed = path.suffix == ".xz"
            place = tree / "modules" / f"{number:02}-{path.name.removesuffix('.xz')}"
            place.write_bytes(lzma.decompress(content) if is_packed else content)
        (tree / "bin").mkdir()
        shutil.copy(self.root() / "bin" / "busybox", tree / "bin")
        write_program(tree / "init", FIND_THE_DISK)
        archive = tree.with_suffix(".cpio")
        names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
        with archive.open("wb") as file:
            subprocess.run(
                ["cpio", "-o", "-H", "newc", "--quiet"],
                input=names.encode(),
                stdout=file,
                cwd=tree,
                check=True,
            )
        return archive

    def disk(self) -> Path:
        """Debian with Python, these sources, and pytest as it is here: it is pure Python."""
        root, disk = self.root(), self.folder / "disk"
        for name in FOLDERS:
            (root / name).mkdir(exist_ok=True)
        (root / "tmp").chmod(0o1777)
        (root / "etc" / "passwd").write_text(USERS)
        for name in ("sh", "true"):
            (root / "bin" / name).symlink_to("busybox")
        for name in SOURCES:
            shutil.copytree(IMPORT_ROOT / name, root / "srv/penjing" / name, ignore=COMPILED)
        for name in PYTEST:
            shutil.copytree(PACKAGES / name, root / "srv/pytest" / name, ignore=COMPILED)
        shutil.copy(PACKAGES / "py.py", root / "srv/pytest")
        write_program(root / "start", START)
        output_of("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), "1G")
        return disk

    def root(self) -> Path:
        return self.unpacked(ROOT_SUITE, *ROOT_PACKAGES)

    def unpacked(self, suite: str, *packages: str) -> Path:
        """Debian's packages with what they need, unpacked once, none of their scripts run."""
        target = self.folder / f"{suite}-{packages[0]}"
        if target.exists():
            return target
        target.mkdir(parents=True)
        chosen = f"--include={','.join(packages)}"
        architecture = f"--architectures={self.machine.debian}"
        output_of(
            "mmdebstrap",
            "-q",
            "--variant=extract",
            architecture,
            chosen,
            suite,
            str(target),
            self.site,
        )
        return target


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def output_of(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def booted(machine: Machine, kernel: Kernel, disk: Path) -> Iterator[dict[str, Any]]:
    """What was found inside, setting by setting."""
    command = (
        *machine.qemu,
        *("-accel", "tcg", "-m", "1G", "-smp", "1", "-nographic", "-no-reboot", "-nic", "none"),
        *("-kernel", str(kernel.image), "-initrd", str(kernel.start)),
        *("-append", f"console={machine.console} quiet loglevel=1 panic=-1"),
        *("-drive", f"file={disk},format=raw,if=virtio,snapshot=on"),
    )
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIMIT_S,
        check=False,
    )
    answers = [line.partition(ANSWER)[2] for line in ended.stdout.splitlines() if ANSWER in line]
    if len(answers) != len(SETTINGS):
        last = (ended.stdout + ended.stderr)[-2000:]
        raise RuntimeError(f"{kernel.image.name} said too little of the box:\n{last}")
    for answer in answers:
        yield json.loads(answer)


def verdict(answer: dict[str, Any]) -> str:
    if not answer["holds"]:
        return "refused"
    return "degraded" if answer["lacking"] else "held"


def is_as_due(answer: dict[str, Any]) -> bool:
    """The probe got nowhere, and the self-test says what this edition of Landlock allows.

    No limit of the kernel counts the processes of a box that stays root.
    """
    abi = answer["kernel_abi"]
    is_whole = abi >= NEWEST_ABI_USED and answer["user"] != "root"
    due = "held" if is_whole else "degraded" if abi else "refused"
    return verdict(answer) == due and not answer["failures"]


def show(answers: list[dict[str, Any]]) -> None:
    table = Table("kernel", "machine", "Landlock", "started by", "the box", "attempts")
    for answer in answers:
        failures = "".join(f"\nFAILED {each}" for each in answer["failures"])
        table.add_row(
            *(answer["kernel"], answer["machine"], str(answer["kernel_abi"]), answer["setting"]),
            # What is lacking follows from the edition.
            f"{verdict(answer)}: {answer['words'].partition(';')[0]}",
            f"{answer['attempts']}{failures}",
        )
    Console(width=max(Console().width, 140)).print(table)


if __name__ == "__main__":
    main()
