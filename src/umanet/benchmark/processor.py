"""What rows are made on: sums round otherwise on another processor, so that a training ends a little elsewhere."""

import platform
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")


def processor() -> str:
    """Name of the processor, the vector instructions that PyTorch uses there, and the GPU if there is one."""
    name = platform.processor() or platform.machine()
    if CPU_INFO.exists():  # Linux, where Python knows only the architecture
        entries = (line.partition(":") for line in CPU_INFO.read_text(encoding="utf-8").splitlines())
        name = next((value.strip() for key, _, value in entries if key.strip() == "model name"), name)
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([f"{name} ({torch.backends.cpu.get_cpu_capability()})", *gpu])
