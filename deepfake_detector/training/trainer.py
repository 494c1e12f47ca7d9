"""The training loop: AdamW, warm-up and cosine, averaged weights, early stopping, and a state that training resumes
from exactly.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from deepfake_detector.evaluation.calibration import standard_error
from deepfake_detector.files import atomic_path
from deepfake_detector.training.dataset import prefetch
from deepfake_detector.training.device import autocast
from deepfake_detector.training.distributed import DistributedContext
from deepfake_detector.training.losses import TERMS, ClassifierWithLoss
from deepfake_detector.training.model import FaceClassifier
from deepfake_detector.training.parameter_groups import freeze, parameter_groups
from deepfake_detector.training.samplers import PairedBatchSampler

EpochMetrics = dict[str, float]
log = logging.getLogger(__name__)
CHECK_EVERY = 20  # steps after which the loss is read from the device: reading it at every step would stall a GPU


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    epochs: int
    lr: float  # highest learning rate of AdamW
    layer_decay: float  # see parameter_groups
    trainable: int | str  # see parameter_groups.freeze
    weight_decay: float
    warmup_fraction: float  # share of the steps in which the learning rate rises
    ema_decay: float  # of the moving average of the weights; 0: none
    patience: int  # epochs without a better validation loss after which training stops
    precision: str  # see device.autocast


@dataclass
class TrainingState:
    """The state of training between two epochs.

    What an epoch draws depends on the seed and the epoch's number only.
    """

    fingerprint: str  # of data, params and code
    epoch: int = 0  # finished epochs
    model: dict[str, torch.Tensor] = field(default_factory=dict)
    average: dict[str, torch.Tensor] = field(default_factory=dict)  # of the weights
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[EpochMetrics] = field(default_factory=list)
    deviations: list[torch.Tensor] = field(default_factory=list)  # of the groups of people: see calibrated_loss

    @property
    def best_epoch(self) -> int:
        """The last epoch, from 0, whose calibrated validation loss exceeds the lowest by one standard error at most.

        The error is that of the difference, over groups of people: what is hard for both epochs does not count.
        The loss is a proper score. The AUC is not: on few validation videos it jumps from epoch to epoch. The loss is
        taken after calibration, because the detector is calibrated later; without it, the loss can rise while the
        ranking improves. The lowest loss is partly chance. Among epochs that the validation people cannot tell apart,
        the last has the lowest learning rate (the one-standard-error rule; Breiman et al. 1984).
        """
        losses = [scores["val_loss"] for scores in self.history]
        lowest = int(np.argmin(losses))
        errors = [standard_error((deviations - self.deviations[lowest]).numpy()) for deviations in self.deviations]
        return max(i for i in range(len(losses)) if losses[i] <= losses[lowest] + errors[i])

    def save(self, path: Path) -> None:
        with atomic_path(path) as part:
            torch.save(vars(self), part)

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> "TrainingState":
        """The state in `path`; a new one if there is none or if it belongs to another training."""
        if not path.is_file():
            return cls(fingerprint)
        try:
            state = cls(**torch.load(path, weights_only=True, map_location="cpu"))
        except Exception as error:  # torch raises many kinds for a foreign or damaged file
            log.warning("%s cannot be resumed (%s); training starts anew", path, error)
            return cls(fingerprint)
        if state.fingerprint != fingerprint:
            log.warning("%s belongs to other params, data or code; training starts anew", path)
            return cls(fingerprint)
        log.info("resuming after epoch %d", state.epoch)
        return state


def fit(
    model: FaceClassifier,
    loss_weights: tuple[float, float],
    loader: DataLoader[Any],
    sampler: PairedBatchSampler,
    validate: Callable[[FaceClassifier], tuple[EpochMetrics, np.ndarray]],
    schedule: Schedule,
    context: DistributedContext,
    path: Path,
    fingerprint: str,
    report: Callable[[int, EpochMetrics], None],
) -> TrainingState:
    """Train `model` in place.

    Args:
        loss_weights: of the ranking loss and of the localization loss.
        validate: gives `val_auc` (of videos), `val_frame_auc` and `val_loss`, and how much each group of people
            deviates from that loss (see calibrated_loss). All processes call it together.
        path: file of the state. Training resumes from a state with the same `fingerprint`.
        report: called by the main process with each epoch and its metrics, also with those before a resumption.

    Returns:
        The final state; its `best` holds the weights of the best epoch.
    """
    state = context.broadcast(TrainingState.load(path, fingerprint) if context.is_main else None)
    model_with_loss = ClassifierWithLoss(model, *loss_weights).to(context.device)
    freeze(model, schedule.trainable)
    groups = parameter_groups(model, schedule.weight_decay, schedule.layer_decay)
    optimizer = create_optimizer_v2(groups, "adamw", schedule.lr, fused=context.device.type != "mps")
    scheduler = _create_scheduler(optimizer, schedule, schedule.epochs * len(loader))
    decay = schedule.ema_decay
    ema_model = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
    if state.epoch:
        model_with_loss.model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        if ema_model:
            ema_model.load_state_dict(state.average)
    ddp_model = context.wrap(model_with_loss)
    validation_model = cast("FaceClassifier", ema_model.module) if ema_model else model
    if context.is_main:
        for epoch, scores in enumerate(state.history):
            report(epoch, scores)
    seed = torch.initial_seed()
    while state.epoch < schedule.epochs and not _exhausted(state, schedule.patience):
        sampler.epoch = state.epoch
        torch.manual_seed(seed + state.epoch)  # of dropout
        means = _train_epoch(
            ddp_model, model_with_loss, ema_model, optimizer, scheduler, loader, schedule, context, state
        )
        context.share_buffers(validation_model)
        metrics, deviations = validate(validation_model)
        scores = {**means, **metrics}
        state.history.append(scores)
        state.deviations.append(torch.from_numpy(deviations))
        state.epoch += 1
        state.model, state.optimizer = model.state_dict(), optimizer.state_dict()
        state.average = ema_model.state_dict() if ema_model else {}
        if state.best_epoch == state.epoch - 1:
            state.best = {name: tensor.detach().cpu().clone() for name, tensor in validation_model.state_dict().items()}
        if context.is_main:
            state.save(path)
            report(state.epoch - 1, scores)
    return state


def _create_scheduler(optimizer: torch.optim.Optimizer, schedule: Schedule, steps: int) -> Scheduler:
    """Linear warm-up, then half a cosine to zero (Loshchilov & Hutter 2017), over `steps` steps."""
    warmup = max(1, round(schedule.warmup_fraction * steps))
    return create_scheduler_v2(
        optimizer,
        "cosine",
        num_epochs=max(1, steps - warmup),  # timm counts whatever its step() is called with
        warmup_epochs=warmup,
        warmup_prefix=True,
        warmup_lr=schedule.lr / (warmup + 1),
    )[0]


def _exhausted(state: TrainingState, patience: int) -> bool:
    return bool(state.history) and state.epoch - 1 - state.best_epoch >= patience


def _train_epoch(
    ddp_model: nn.Module,
    model_with_loss: ClassifierWithLoss,
    ema_model: AveragedModel | None,
    optimizer: torch.optim.Optimizer,
    scheduler: Scheduler,
    loader: DataLoader[Any],
    schedule: Schedule,
    context: DistributedContext,
    state: TrainingState,
) -> EpochMetrics:
    """Means over the steps of one epoch and over all processes: `loss`, TERMS, `gradient_norm` and `lr`."""
    model_with_loss.train()
    names = ("loss", *TERMS, "gradient_norm")
    steps, rates = len(loader), 0.0
    total, pending = np.zeros(len(names)), torch.zeros(len(names), device=context.device)
    best = f", best AUC {state.history[state.best_epoch]['val_auc']:.3f}" if state.history else ""
    title = f"train epoch {state.epoch + 1}/{schedule.epochs}{best}"
    bar = tqdm(prefetch(loader, context.device), title, steps, unit="batch", leave=False, disable=not context.is_main)
    for step, (crops, labels, aligned) in enumerate(bar):
        scheduler.step(state.epoch * steps + step)
        with autocast(context.device, schedule.precision):
            loss, terms = ddp_model(crops, labels.float(), aligned)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model_with_loss.parameters(), 1.0)
        optimizer.step()
        if ema_model:
            ema_model.update_parameters(model_with_loss.model)
        rates += max(group["lr"] for group in optimizer.param_groups)
        pending += torch.stack([loss.detach(), *terms, norm.detach()])
        if step % CHECK_EVERY == 0 or step + 1 == steps:
            total += pending.cpu().numpy()
            pending.zero_()
            if not math.isfinite(total[0]):
                raise FloatingPointError(
                    f"the loss is {total[0]} at epoch {state.epoch + 1}, step {step + 1}; lower train.lr"
                )
            bar.set_postfix(loss=f"{total[0] / (step + 1):.3f}")
    means = {name: context.all_reduce_mean(float(value) / steps) for name, value in zip(names, total, strict=True)}
    return means | {"lr": rates / steps}
