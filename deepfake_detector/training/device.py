"""The device and the precision of the network."""

import os

import torch

from deepfake_detector.training.detector_config import DeviceError


def pick_device(name: str = "auto") -> torch.device:
    """The device `name`: cpu, mps, cuda or cuda:1. `auto` takes a CUDA GPU, else Apple's GPU, else the CPU.

    Raises DeviceError if PyTorch does not find it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device {name!r}: PyTorch finds {torch.cuda.device_count()} CUDA devices here")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"device {name!r}: PyTorch finds no Apple GPU here")
    return device


def make_deterministic(seed: int, device: torch.device) -> None:
    """Seed PyTorch and let it use deterministic algorithms only.

    On CUDA and on the CPU an operation without one raises RuntimeError. On MPS it warns: the backward pass of max
    pooling has none there, and a ResNet could not be trained at all.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it to be deterministic
    torch.use_deterministic_algorithms(True, warn_only=device.type == "mps")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow; only finds bugs
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(seed)


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16. Emulation is slower than float32 and does not count."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context for the forward pass in `precision`: float32, bfloat16, or auto (bfloat16 if the hardware computes in
    it).
    """
    enabled = precision == "bfloat16" or (precision == "auto" and computes_in_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
