"""The training loop: AdamW, warm-up and cosine, averaged weights, early stopping, and a state from which it goes on exactly."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from deepfake_detector.training.dataset import PairedBatchSampler, prefetch
from deepfake_detector.training.device import autocast
from deepfake_detector.training.distributed import ProcessGroup
from deepfake_detector.training.losses import ClassifierWithLoss
from deepfake_detector.training.model import FaceClassifier
from stages.params import Train

Scores = dict[str, float]


@dataclass
class TrainingState:
    """All that training is, between two epochs. What is drawn in an epoch depends on seed and epoch only."""

    fingerprint: str  # of params, data and code: a state of another training is not continued
    epoch: int = 0  # epochs done
    lesson: dict[str, torch.Tensor] = field(default_factory=dict)  # the network, and what is only there to teach it
    average: dict[str, torch.Tensor] = field(default_factory=dict)  # of the weights, if train.ema asks for it
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[Scores] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """The last epoch (from 0) whose calibrated log loss on validation faces is within a standard error of the lowest.

        On few validation videos their AUC jumps from epoch to epoch, up to 1 while a network is half trained; the log loss is
        a proper score, and follows how much has been learnt. It is taken after calibration, which what is kept goes through
        anyway: uncalibrated, it can rise while the ranking improves, above all where validation holds more fakes than reals.
        But its lowest value is partly chance: among epochs that the people of validation cannot tell apart, the one whose
        learning rate had fallen furthest is kept (the one-standard-error rule; Breiman et al. 1984).
        """
        lowest = min(self.history, key=lambda scores: scores["val_loss"])
        enough = lowest["val_loss"] + lowest["val_loss_error"]
        return max(epoch for epoch, scores in enumerate(self.history) if scores["val_loss"] <= enough)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        torch.save(vars(self), part)
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> "TrainingState":
        """The state in `path`, or a new one if there is none or it belongs to another training; says which."""
        if path.is_file():
            try:
                state = cls(**torch.load(path, weights_only=True, map_location="cpu"))
            except Exception as error:  # a foreign or damaged file; torch raises many kinds
                print(f"{path} cannot be resumed ({error}); training starts anew")
                return cls(fingerprint)
            if state.fingerprint == fingerprint:
                print(f"resuming after epoch {state.epoch}")
                return state
            print(f"{path} belongs to other params, data or code; training starts anew")
        return cls(fingerprint)


def learning_rate(step: int, steps: int, settings: Train) -> float:
    """Linear warm-up, then half a cosine to zero (Loshchilov & Hutter 2017)."""
    warm = max(1, round(settings.warmup * steps))
    if step < warm:
        return settings.lr * (step + 1) / warm
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def fit(
    model: FaceClassifier,
    loader: DataLoader,
    sampler: PairedBatchSampler,
    validate: Callable[[FaceClassifier], Scores],
    settings: Train,
    team: ProcessGroup,
    path: Path,
    fingerprint: str,
    report: Callable[[int, Scores], None],
) -> TrainingState:
    """Train `model` in place and return the final state.

    Args:
        validate: gives `val_auc` (of videos), `val_face_auc`, `val_loss` and `val_loss_error`; asked by the leader of the team.
        path: where the state is kept; if it holds one of the same `fingerprint`, training goes on from there.
        report: called by the leader with each epoch (also those before a resumption) and its scores.
    """
    state = TrainingState.load(path, fingerprint)
    lesson = ClassifierWithLoss(model, settings).to(team.device)
    optimizer = torch.optim.AdamW(lesson.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    average = (
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
        if settings.ema
        else None
    )
    if state.epoch:
        lesson.load_state_dict(state.lesson)
        optimizer.load_state_dict(state.optimizer)
        if average:
            average.load_state_dict(state.average)
    wrapped = team.wrap(lesson)
    judged = cast("FaceClassifier", average.module) if average else model
    if team.is_main:
        for epoch, scores in enumerate(state.history):
            report(epoch, scores)
    while state.epoch < settings.epochs and not _exhausted(state, settings):
        sampler.epoch = state.epoch
        loss = _one_epoch(lesson, wrapped, average, optimizer, loader, settings, team, state)
        scores = team.broadcast({"loss": loss, **validate(judged)} if team.is_main else {})
        state.history.append(scores)
        state.epoch += 1
        state.lesson, state.optimizer = lesson.state_dict(), optimizer.state_dict()
        state.average = average.state_dict() if average else {}
        if state.best_epoch == state.epoch - 1:
            state.best = {name: tensor.detach().cpu().clone() for name, tensor in judged.state_dict().items()}
        if team.is_main:
            state.save(path)
            report(state.epoch - 1, scores)
    return state


def _exhausted(state: TrainingState, settings: Train) -> bool:
    return bool(state.history) and state.epoch - 1 - state.best_epoch >= settings.patience


def _one_epoch(
    lesson: ClassifierWithLoss,
    wrapped: nn.Module,
    average: AveragedModel | None,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader,
    settings: Train,
    team: ProcessGroup,
    state: TrainingState,
) -> float:
    """Mean loss of an epoch, over all processes."""
    lesson.train()
    total, steps = 0.0, len(loader)
    best = f", best AUC {state.history[state.best_epoch]['val_auc']:.3f}" if state.history else ""
    bar = tqdm(
        prefetch(loader, team.device),
        f"train epoch {state.epoch + 1}/{settings.epochs}{best}",
        total=steps,
        unit="batch",
        leave=False,
        disable=not team.is_main,
    )
    for step, (crops, labels) in enumerate(bar):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(state.epoch * steps + step, settings.epochs * steps, settings)
        with autocast(team.device, settings.precision):
            loss = wrapped(crops.to(team.device), labels.float().to(team.device))
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at epoch {state.epoch + 1}, step {step + 1}; lower train.lr"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(lesson.parameters(), 1.0)
        optimizer.step()
        if average:
            average.update_parameters(lesson.model)
        total += loss.item()
        bar.set_postfix(loss=f"{total / (step + 1):.3f}")
    return team.all_reduce_mean(total / steps)
