"""The processes that train together: one, or as many as torchrun starts."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class ProcessGroup:
    """This process is number `rank` of `size`; only the leader, number 0, prints and writes."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def broadcast(self, values: dict[str, float]) -> dict[str, float]:
        """The leader's `values`, for all."""
        if self.size == 1:
            return values
        box = [values]
        distributed.broadcast_object_list(box, device=self.device)
        return box[0]

    def all_reduce_mean(self, value: float) -> float:
        """Of the values of all processes."""
        if self.size == 1:
            return value
        total = torch.tensor(value, device=self.device)
        distributed.all_reduce(total)
        return total.item() / self.size

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model` with its gradients averaged over the processes, and on GPUs its batch statistics taken over all of them."""
        if self.size == 1:
            return model
        if self.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return DistributedDataParallel(model, device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def shut_down(self) -> None:
        if self.size > 1:
            distributed.destroy_process_group()


def init_process_group() -> ProcessGroup:
    """The team that torchrun has set up, or a team of one. All but the leader fall silent."""
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if size > 1:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if rank:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 (for as long as the process lives)
    return ProcessGroup(rank, size, device)
