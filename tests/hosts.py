"""Several hosts on this machine, for tests: namespaces with a name, an address and shared memory of their own.

They share its files, cores and process numbers. What joins them is a bridge of the kernel, or, with a delay, a switch
in user space: this module run as a program. Nothing of it is seen from outside, and nothing is left behind: a namespace
lives as long as the process that holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import heapq
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

NETWORK = "10.77.0"
TOOLS = ("ip", "tc", "unshare", "nsenter")
# What it takes for Open MPI to begin on them, as these hosts share cores and a network that is none of its favourites.
SETTINGS = {
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_mtl": "^ofi",
    "OMPI_MCA_btl": "^ofi,uct,openib",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": "slot:oversubscribe",
}
# And for its daemons to see within seconds that a host is cut off.
QUICK = {
    f"PRTE_MCA_oob_tcp_keepalive_{name}": value for name, value in (("time", "2"), ("intvl", "1"), ("probes", "2"))
}
AGENT = """\
#!/bin/sh
# Starts a command on a host: what mpirun calls instead of ssh.
while :; do case $1 in -*) shift ;; *) break ;; esac; done
host=$1
shift
case $host in
{cases}
    *) echo "no host $host" >&2; exit 1 ;;
esac
exec {enter} sh -c "$*"
"""


@functools.cache
def lacking() -> str:
    """Why there can be no hosts here; empty if there can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install iproute2 util-linux"
    try:
        with Hosts(1):
            return ""
    except (OSError, subprocess.SubprocessError) as error:
        return f"this machine allows no network namespaces with links between them: {error}"


def call(*command: object) -> str:
    """What a command prints; an error if it fails."""
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


class Hosts:
    """A context manager: hosts n1, n2, …, with addresses 10.77.0.1 and on, as long as it lasts.

    delay : seconds that a packet takes from one to another; 0 for what the kernel's bridge takes.
    """

    def __init__(self, count: int, delay: float = 0.0) -> None:
        self.names = [f"n{i + 1}" for i in range(count)]
        self._delay = delay
        self._holders: dict[str, subprocess.Popen[str]] = {}
        self._switch: subprocess.Popen[str] | None = None

    def __enter__(self) -> Hosts:
        try:
            self._begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        for name in self.names:
            if name in self._holders:
                self.kill(name)
        for process in (*self._holders.values(), *filter(None, [self._switch])):
            with process:  # which waits for it and closes its pipe
                process.kill()

    def _begin(self) -> None:
        table = "".join(f"{self.address(name)} {name}\n" for name in (*self.names, "head"))
        for name in (*self.names, "head"):
            # Own names, shared memory, and addresses; it says so when all is there.
            setup = (
                f"hostname {name} && mount -t tmpfs none /dev/shm && mount -t tmpfs none /mnt && "
                f"printf '127.0.0.1 localhost\\n%s' '{table}' >/mnt/hosts && mount --bind /mnt/hosts /etc/hosts && "
                "ip link set lo up && echo ready && exec sleep infinity"
            )
            holder = subprocess.Popen(
                ["unshare", "--net", "--uts", "--ipc", "--mount", "sh", "-c", setup], stdout=subprocess.PIPE, text=True
            )
            self._holders[name] = holder
            assert holder.stdout is not None
            if holder.stdout.readline() != "ready\n":
                raise OSError(f"host {name} did not begin")
        self._join_by_switch() if self._delay else self._join_by_bridge()
        for name in self.names:
            call(*self.enter(name), "ip", "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            call(*self.enter(name), "ip", "link", "set", "eth0", "up")

    def _join_by_bridge(self) -> None:
        head = self.enter("head")
        call(*head, "ip", "link", "add", "bridge", "type", "bridge")
        call(*head, "ip", "address", "add", f"{self.address('head')}/24", "dev", "bridge")
        call(*head, "ip", "link", "set", "bridge", "up")
        for name in self.names:
            peer = ("type", "veth", "peer", "name", "eth0", "netns", self._holders[name].pid)
            call(*head, "ip", "link", "add", f"to-{name}", *peer)
            call(*head, "ip", "link", "set", f"to-{name}", "up", "master", "bridge")

    def _join_by_switch(self) -> None:
        pids = [str(self._holders[name].pid) for name in self.names]
        command = [sys.executable, __file__, str(self._delay), *pids]
        self._switch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._switch.stdout is not None
        if self._switch.stdout.readline() != "ready\n":
            raise OSError("the switch did not begin")

    def address(self, name: str) -> str:
        """Of a host."""
        return f"{NETWORK}.{254 if name == 'head' else self.names.index(name) + 1}"

    def enter(self, name: str) -> list[str]:
        """What to put before a command to have it run on a host."""
        return [
            "nsenter",
            "--target",
            str(self._holders[name].pid),
            "--net",
            "--uts",
            "--ipc",
            "--mount",
            f"--wd={os.getcwd()}",
        ]

    def agent(self, folder: Path) -> Path:
        """A script that mpirun can call instead of ssh."""
        cases = "\n".join(f"    {name} | {self.address(name)}) pid={self._holders[name].pid} ;;" for name in self.names)
        enter = " ".join(self.enter(self.names[0])).replace(str(self._holders[self.names[0]].pid), '"$pid"')
        path = folder / "agent"
        path.write_text(AGENT.format(cases=cases, enter=enter))
        path.chmod(0o755)
        return path

    def settings(self, folder: Path) -> dict[str, str]:
        """Variables for mpirun on the first host."""
        return {**SETTINGS, "PRTE_MCA_plm_ssh_agent": str(self.agent(folder))}

    def processes(self, name: str) -> list[int]:
        """Of a host, but for the one that holds it."""
        holder = self._holders[name].pid
        place, found = os.readlink(f"/proc/{holder}/ns/net"), []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.readlink(entry / "ns" / "net") == place and int(entry.name) != holder:
                    found.append(int(entry.name))
        return found

    def kill(self, name: str) -> None:
        """All processes of a host at once, as where its power fails."""
        for pid in self.processes(name):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cut(self, name: str) -> None:
        """Take a host off the network."""
        call(*self.enter(name), "ip", "link", "set", "eth0", "down")

    def mend(self, name: str) -> None:
        """Put it back."""
        call(*self.enter(name), "ip", "link", "set", "eth0", "up")

    def limit(self, megabits: float) -> None:
        """Bandwidth of every host, outgoing, in 10^6 bits a second."""
        for name in self.names:
            rate = ("rate", f"{megabits}mbit", "burst", "64kb", "latency", "50ms")
            call(*self.enter(name), "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", *rate)

    def held_back(self, name: str) -> int:
        """How often a packet of a host had to wait for the bandwidth that it has."""
        shown = call(*self.enter(name), "tc", "-statistics", "qdisc", "show", "dev", "eth0").split()
        return int(shown[shown.index("overlimits") + 1])

    def bytes_sent(self, name: str) -> int:
        """To the others so far."""
        return int(call(*self.enter(name), "cat", "/sys/class/net/eth0/statistics/tx_bytes"))


def forward(delay: float, pids: list[int]) -> None:
    """Join processes' network namespaces by taps, a packet taking so many seconds, until ended."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    taps: list[int] = []
    for pid in pids:
        with open(f"/proc/{pid}/ns/net") as there:
            if libc.setns(there.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        taps.append(os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK))
        tap_without_header = 0x1002
        fcntl.ioctl(taps[-1], 0x400454CA, struct.pack("16sH22x", b"eth0", tap_without_header))
    print("ready", flush=True)
    place: dict[bytes, int] = {}  # of an address, by tap
    waiting: list[tuple[float, int, int, bytes]] = []
    for number in range(1 << 62):  # of the packet: first come, first served
        wait = max(waiting[0][0] - time.monotonic(), 0.0) if waiting else None
        for tap in select.select(taps, [], [], wait)[0]:
            with suppress(BlockingIOError):
                packet = os.read(tap, 65536)
                place[packet[6:12]] = tap
                targets = [place[packet[:6]]] if packet[:6] in place else [other for other in taps if other != tap]
                for target in targets:
                    heapq.heappush(waiting, (time.monotonic() + delay, number, target, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            *_, target, packet = heapq.heappop(waiting)
            with suppress(OSError):
                os.write(target, packet)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        forward(float(sys.argv[1]), list(map(int, sys.argv[2:])))
