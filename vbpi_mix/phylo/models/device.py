"""Where likelihoods are computed: the processor, or a CUDA device for those of four states."""

from __future__ import annotations

import importlib.util

from vbpi_mix.errors import ConfigError

DEVICES = ("cpu", "cuda")


def check_device(device: str) -> str:
    """The device, if it is there. ConfigError if not."""
    if device not in DEVICES:
        raise ConfigError(f"device {device!r}: choose one of {', '.join(DEVICES)}")
    if device == "cuda" and not _finds_cuda():
        raise ConfigError(
            "--device cuda: numba finds no CUDA device here; leave it out, or install what numba needs for one: "
            "pip install 'vbpi-mix[gpu]', and NVIDIA's driver"
        )
    return device


def _finds_cuda() -> bool:
    """Whether numba has a CUDA target, a driver and a device."""
    if importlib.util.find_spec("numba.cuda") is None:
        return False
    from numba import cuda

    return bool(cuda.is_available())
