"""Training steps on one and two processes of torchrun, which share each batch.

    python -m benchmarks.processes [--processes 1 2] [--threads 1]

Each process has as many threads as `--threads` says, so that two processes on two cores do not hold each other up.
"""

import os
import subprocess
import sys
import time

import torch

from benchmarks.command import command_line
from deepfake_detector.training.distributed import init_process_group
from deepfake_detector.training.losses import ClassifierWithLoss
from deepfake_detector.training.model import create_model

BATCH, SIZE, STEPS, WARM_UP = 32, 96, 20, 3
CODE = "from benchmarks.processes import measure; measure()"


def measure() -> None:
    """Print the seconds of a step on random faces; each process of torchrun calls it."""
    context = init_process_group()
    learner = context.wrap(ClassifierWithLoss(create_model("resnet18"), 0.3, 0.0).to(context.device).train())
    optimizer = torch.optim.AdamW(learner.parameters())
    share = BATCH // context.world_size
    crops = torch.randint(0, 256, (share, 3, SIZE, SIZE), dtype=torch.uint8, device=context.device)
    labels = torch.arange(share, device=context.device) % 2 == 0
    start = 0.0
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            start = time.perf_counter()
        loss, _ = learner(crops, labels.float(), torch.zeros_like(labels))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if context.is_main:
        print((time.perf_counter() - start) / STEPS)
    context.shut_down()


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    rows = []
    for processes in options.processes:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command += ["--no-python", sys.executable, "-c", CODE]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        rows.append((processes, float(done.stdout.split()[-1])))
    print(f"ResNet-18, float32, batches of {BATCH} faces of {SIZE} pixels, {options.threads} thread(s) a process.\n")
    print("| processes | milliseconds a step | images a second | against one process |\n|---|---|---|---|")
    for processes, step in rows:
        print(f"| {processes} | {step * 1e3:.0f} | {BATCH / step:.0f} | {rows[0][1] / step:.2f} |")


if __name__ == "__main__":
    main()
