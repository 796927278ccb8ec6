"""The machine that figures were measured on, in one line."""

import os
import platform
from pathlib import Path


def line() -> str:
    """Return the processor's name, the cores this process may use, the load, the system and Python."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((text.split(":", 1)[1].strip() for text in lines if text.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{name}, {cores} cores{load}, {platform.system()}, Python {platform.python_version()}"
