"""A throw-away SLURM cluster of one node, with devices that only count.

It needs Debian's packages slurm-wlm and munge, but no rights, no database, and nothing in /etc. Its
three daemons are children of this process: they are stopped by their process ids, also when a test
fails, and end by themselves when this process is killed.
"""

import contextlib
import ctypes
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("srun", "sbatch", "squeue", "sinfo", "scancel", "scontrol", "sacct", "sacctmgr")
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])

CONF = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# memory limits without cgroups: looked at every second, and more is killed
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
# a job that can never run is refused, it does not wait for ever
EnforcePartLimits=ALL
MinJobAge=3600
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# the node has what this file says, not what the machine has
SlurmdParameters=config_overrides
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:fake:{gpus}
PartitionName=gpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=cpu Nodes={host} MaxTime=INFINITE State=UP
"""


def missing():
    """Programs of SLURM and munge that this machine lacks."""
    words = (*DAEMONS, "srun", "sbatch", "squeue", "scancel", "scontrol")
    return [word for word in words if shutil.which(word, path=SEARCH) is None]


@contextlib.contextmanager
def one_node_slurm(folder, *, gpus=4, cpus=8, memory_mb=256_000):
    """Run the cluster while the block runs; yields the environment that speaks to it.

    Args:
        folder: an empty folder for state, logs and keys; short, as it holds a socket.
        gpus: how many devices of the type ``fake``: links to /dev/null, whose number is the index.
        cpus: of the node; may be more than this machine has.
        memory_mb: the same.
    """
    folder = Path(folder).resolve()
    for name in ("run", "state", "spool", "log", "dev", "bin", "key"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    user, ports = getpass.getuser(), free_ports(2)
    conf = folder / "slurm.conf"
    conf.write_text(
        CONF.format(
            folder=folder, host=host, user=user, ports=ports,
            gpus=gpus, cpus=cpus, memory_mb=memory_mb,
        )
    )  # fmt: skip
    for index in range(gpus):
        (folder / f"dev/fake{index}").symlink_to("/dev/null")
    (folder / "gres.conf").write_text(
        f"NodeName={host} Name=gpu Type=fake File={folder}/dev/fake[0-{gpus - 1}]\n"
    )
    # Snakemake's plugin drops all variables SLURM_*, also SLURM_CONF; these put it back
    for command in COMMANDS:
        program = shutil.which(command, path=SEARCH)
        if program:
            shim = folder / "bin" / command
            shim.write_text(f'#!/bin/sh\nSLURM_CONF="{conf}" exec "{program}" "$@"\n')
            shim.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    env |= {"PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}", "SLURM_CONF": str(conf)}
    daemons = {}
    try:
        daemons["munged"] = start_munged(folder, env)
        for name in ("slurmctld", "slurmd"):
            daemons[name] = start([name, "-D", "-f", conf], folder, env)
        wait_until_idle(folder, env, daemons)
        yield env
    finally:
        if "slurmd" in daemons:
            cancel_all(env, user)
        for name in ("slurmd", "slurmctld", "munged"):
            if name in daemons:
                stop(daemons[name])


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_munged(folder, env):
    (folder / "key").chmod(0o700)
    key = folder / "key/munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    words = ["munged", "--foreground", "--force", f"--key-file={key}"]
    words += [f"--socket={folder}/run/munge.socket", f"--pid-file={folder}/run/munged.pid"]
    words += [f"--log-file={folder}/log/munged.log", f"--seed-file={folder}/key/munge.seed"]
    return start(words, folder, env)


def start(words, folder, env):
    program = shutil.which(words[0], path=SEARCH)
    with open(folder / "log" / f"{words[0]}.out", "w") as log:
        return subprocess.Popen(
            [program, *map(str, words[1:])],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )


def end_with_parent():
    """Linux: send SIGTERM to this child when its parent dies, however it dies."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def wait_until_idle(folder, env, daemons, seconds=60):
    end = time.monotonic() + seconds
    state = ""
    while time.monotonic() < end and all(daemon.poll() is None for daemon in daemons.values()):
        state = ask(["sinfo", "-h", "-o", "%T"], env)
        if set(state.split()) == {"idle"}:
            return
        time.sleep(0.2)
    logs = "".join(
        f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
        for path in sorted((folder / "log").iterdir())
    )
    raise RuntimeError(f"SLURM did not come up, its node is {state.strip() or 'unknown'}:\n{logs}")


def ask(words, env, timeout=10):
    """What a command of the cluster prints, or nothing if it does not answer."""
    try:
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def cancel_all(env, user):
    ask(["scancel", "--user", user], env)
    end = time.monotonic() + 15
    while ask(["squeue", "-h", "-t", "R,PD,CG"], env).strip() and time.monotonic() < end:
        time.sleep(0.2)


def stop(daemon):
    daemon.terminate()
    try:
        daemon.wait(15)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
