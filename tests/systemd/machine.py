"""A machine with a systemd of its own: Debian in an emulated computer, with a shell on its second serial port.

The tree is made once by debootstrap and kept; each machine boots from a copy. Without hardware virtualisation a boot takes a minute.
"""

import base64
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from peers import free_port

SUITE = "bookworm"
# With what the package depends on, and what the documents' commands need: the machine has no way to an archive.
PACKAGES = "systemd,systemd-sysv,dbus,udev,kmod,iproute2,procps,adduser,linux-image-cloud-amd64,attr,curl,sudo,sysstat,xxhash"
BOOT_LIMIT_S = 600
COMMAND_LIMIT_S = 600

AGENT = """#!/bin/bash
# One command a line, in base64; its exit code and what it said, likewise.
stty raw -echo
echo READY
while IFS= read -r line; do
    said=$(base64 -d <<<"$line" | bash 2>&1)
    printf '%s %s\\n' "$?" "$(base64 -w0 <<<"$said")"
done
"""

UNIT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/opt/agent
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/ttyS1
Environment=DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
[Install]
WantedBy=multi-user.target
"""

NETWORK = """[Match]
Name=en*
[Network]
DHCP=yes
"""


def make_tree(tree: Path) -> None:
    """A Debian that boots, with the agent in it."""
    if tree.exists():
        return
    whole, tree = tree, tree.with_name(f"{tree.name}.partial")
    # What an earlier one may have left has the host's /proc mounted in it.
    subprocess.run(["umount", "-q", str(tree / "proc"), str(tree / "sys")], check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", str(tree)], check=True)
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(tree)], check=True, stdout=subprocess.DEVNULL)
    (tree / "etc/hostname").write_text("gateway\n")
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/systemd/network/en.network").write_text(NETWORK)
    (tree / "etc/systemd/system/agent.service").write_text(UNIT)
    for unit, path in (("agent.service", "/etc/systemd/system"), ("systemd-networkd.service", "/lib/systemd/system")):
        (tree / "etc/systemd/system/multi-user.target.wants" / unit).symlink_to(f"{path}/{unit}")
    (tree / "opt/agent").write_text(AGENT)
    (tree / "opt/agent").chmod(0o755)
    tree.rename(whole)


class Machine:
    """Boots with `files` in /opt. `port` of this host leads to 11112 of the machine."""

    def __init__(self, tree: Path, directory: Path, files: list[Path]):
        image, agent = directory / "disk.img", directory / "agent"
        self.console = directory / "console.log"
        for file in files:
            shutil.copy(file, tree / "opt" / file.name)
        with image.open("wb") as disk:
            disk.truncate(3 << 30)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(image)], check=True, env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"})
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-display", "none", "-no-reboot", "-nodefaults",
                "-kernel", *map(str, tree.glob("boot/vmlinuz-*")), "-initrd", *map(str, tree.glob("boot/initrd.img-*")),
                "-append", "root=/dev/vda rw console=ttyS0 quiet",
                "-drive", f"file={image},format=raw,if=virtio",
                "-netdev", f"user,id=net,restrict=off,hostfwd=tcp:127.0.0.1:{self.port}-:11112", "-device", "virtio-net-pci,netdev=net",
                "-serial", f"file:{self.console}", "-serial", f"unix:{agent},server=on,wait=off",
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.agent = connect(agent)
        self.lines = self.agent.makefile("r")
        self.agent.settimeout(BOOT_LIMIT_S)
        assert "READY" in self.lines.readline()

    def run(self, command: str) -> tuple[int, str]:
        """Exit code and output of a command as root."""
        self.agent.settimeout(COMMAND_LIMIT_S)
        self.agent.sendall(base64.b64encode(command.encode()) + b"\n")
        code, said = self.lines.readline().split(" ")
        return int(code), base64.b64decode(said).decode(errors="replace").removesuffix("\n")

    def do(self, command: str) -> str:
        """What a command said that must succeed."""
        code, said = self.run(command)
        assert code == 0, f"{command}: {code}\n{said}"
        return said

    def until(self, command: str) -> str:
        """What a command said when it succeeded at last."""
        deadline = time.monotonic() + COMMAND_LIMIT_S
        while True:
            code, said = self.run(command)
            if code == 0:
                return said
            assert time.monotonic() < deadline, f"not within {COMMAND_LIMIT_S} s: {command}: {said}"
            time.sleep(1)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def connect(path: Path) -> socket.socket:
    deadline = time.monotonic() + BOOT_LIMIT_S
    while True:
        try:
            stream = socket.socket(socket.AF_UNIX)
            stream.connect(str(path))
            return stream
        except OSError:
            assert time.monotonic() < deadline, "the emulator does not start"
            time.sleep(0.1)
