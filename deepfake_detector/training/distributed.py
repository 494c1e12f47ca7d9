"""Training on several processes: one alone, or as many as torchrun starts."""

import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from deepfake_detector.training.device import pick_device

TIMEOUT = timedelta(hours=12)  # of a collective call; the main process writes and logs while the others wait


@dataclass(frozen=True)
class DistributedContext:
    """This process is number `rank` of `world_size` and computes on `device`.

    Only the main process, number 0, prints and writes.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """The main process' `value`, in all processes. The others' is ignored."""
        if self.world_size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, device=self.device)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in order of rank, in all processes."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values

    def all_reduce_mean(self, value: float) -> float:
        """The mean of the values of all processes."""
        if self.world_size == 1:
            return value
        total = torch.tensor(value, device=self.device)
        distributed.all_reduce(total)
        return total.item() / self.world_size

    def share_buffers(self, model: nn.Module) -> None:
        """Give `model` the main process' buffers: batch statistics are those of each process' share, but on GPUs."""
        if self.world_size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model` with gradients averaged over the processes and, on GPUs, batch statistics of all of them."""
        if self.world_size == 1:
            return model
        if self.device.type == "cuda":
            return DistributedDataParallel(synchronize_batch_norm(model), device_ids=[self.device.index])
        return DistributedDataParallel(model)

    def shut_down(self) -> None:
        if self.world_size > 1:
            distributed.destroy_process_group()


def synchronize_batch_norm(model: nn.Module) -> nn.Module:
    """`model` with batch statistics taken over all processes.

    timm's converter keeps the activation that its batch norm layers contain. PyTorch's converter drops it.
    """
    converted: nn.Module = convert_sync_batchnorm(model)
    return converted


def init_process_group() -> DistributedContext:
    """The group that torchrun has set up, or this process alone. Output of all but the main process is dropped."""
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    device = pick_device()
    if world_size > 1:
        device = torch.device("cpu") if device.type == "mps" else device  # gloo has no MPS
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    if rank:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 (open for the life of the process)
    return DistributedContext(rank, world_size, device)
