"""A SLURM on this machine, or on hosts of tests/hosts.py: its own daemons, without systemd, munge and accounting."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from hosts import Hosts

CONFIG = """\
ClusterName=mpigd
SlurmctldHost={controller}
SlurmctldPort={port}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
SlurmdTimeout=10
KillWait=5
NodeName=DEFAULT CPUs=8 SocketsPerBoard=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=2000 State=UNKNOWN
{nodes}
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")


def lacking() -> str:
    """Why there can be no SLURM here; empty if there can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"SLURM is not installed ({', '.join(missing)}): apt-get install slurm-wlm"
    return "" if os.geteuid() == 0 else "only root can start the daemons of SLURM"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return int(some.getsockname()[1])


class Slurm:
    """A context manager: the daemons run as long as it does.

    hosts : to have a node on each of them, the controller at their head; else there is one node, this machine.
    """

    def __init__(self, folder: Path, hosts: Hosts | None = None) -> None:
        self._folder, self._hosts = folder, hosts
        self.nodes = hosts.names if hosts else [socket.gethostname()]
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX", "SLURM"))}
        self._environment |= {"SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self) -> Slurm:
        for name in ("state", "spool"):
            (self._folder / name).mkdir()
        if self._hosts:
            controller = f"head({self._hosts.address('head')})"
            nodes = [f"NodeName={name} NodeAddr={self._hosts.address(name)}" for name in self.nodes]
        else:
            controller = f"{self.nodes[0]}(127.0.0.1)"
            nodes = [f"NodeName={self.nodes[0]} NodeAddr=127.0.0.1 Port={free_port()}"]
        config = CONFIG.format(folder=self._folder, controller=controller, port=free_port(), nodes="\n".join(nodes))
        (self._folder / "slurm.conf").write_text(config)
        self._start("head", "slurmctld", "-D", "-i")
        for name in self.nodes:
            self._start(name, "slurmd", "-D", "-N", name)
        try:
            self.wait_for(self._all_idle, 30.0)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self, where: str, *command: str) -> None:
        enter = self._hosts.enter(where) if self._hosts else []
        self._daemons.append(
            subprocess.Popen(
                [*enter, *command], env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )

    def _all_idle(self) -> bool:
        states = self("sinfo", "--noheader", "--Node", "--format", "%T").split()
        return states == ["idle"] * len(self.nodes)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self("scancel", "--user", "root", "--signal=KILL", "--full")
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def __call__(self, *command: str, **environment: str) -> str:
        """What a command of SLURM prints, its complaints as well."""
        done = subprocess.run(
            [*(self._hosts.enter("head") if self._hosts else []), *command],
            env=self._environment | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=30,
        )
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """Of a job, as in PENDING."""
        return self.words(job).get("JobState", "")

    def words(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job."""
        return dict(word.split("=", 1) for word in self("scontrol", "show", "job", job).split() if "=" in word)

    def wait_for(self, holds: object, seconds: float = 60.0) -> None:
        """Wait until a function returns something true."""
        assert callable(holds)
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError(f"SLURM did not come to this:\n{self.log}")
            time.sleep(0.1)

    @property
    def log(self) -> str:
        """The ends of what the daemons say."""
        return "\n".join(log.read_text()[-2000:] for log in sorted(self._folder.glob("*.log")))
