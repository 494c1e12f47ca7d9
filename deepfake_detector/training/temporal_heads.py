"""Temporal heads: they take the faces of one person in order of time (model.temporal).

The network learns from single faces first. A head then learns what to add to each logit from the embeddings of a
person's faces. So everything that follows (means, timelines, thresholds) works as it does without a head. A new head
is a subclass of TemporalHead and a line in TEMPORAL_HEADS.
"""

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from deepfake_detector.registry import lookup
from deepfake_detector.training import TEMPORAL_HEADS
from deepfake_detector.training.batching import CLIP_LENGTH
from deepfake_detector.training.dataset import FaceDataset, SampleKey
from deepfake_detector.training.losses import paired_loss
from deepfake_detector.training.model import FaceClassifier
from deepfake_detector.training.samplers import draw_manipulations, match_originals, people_of

WIDTH = 64  # channels within a head
CLIPS_PER_FAKE = 4  # how often each fake person is shown, drawn and augmented anew
EPOCHS, LR, BATCH_PAIRS = 20, 1e-3, 16


class TemporalHead(nn.Module):
    """Embeddings (people, faces, channels), in order of time, to what is added to the logits: float32 (people, faces).

    An untrained head adds nothing.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, WIDTH)
        self.output = nn.Linear(WIDTH, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def mix(self, sequence: torch.Tensor) -> torch.Tensor:
        """(people, faces, WIDTH) to the same shape, each face informed by the others."""
        raise NotImplementedError

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return self.output(self.mix(self.project(embeddings))).squeeze(2)


class GRUHead(TemporalHead):
    """A gated recurrent unit in both directions (Cho et al. 2014)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.gru = nn.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)

    def mix(self, sequence: torch.Tensor) -> torch.Tensor:
        return self.gru(sequence)[0]


class AttentionHead(TemporalHead):
    """One layer of a transformer (Vaswani et al. 2017). The order of the faces does not matter to it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0, batch_first=True, norm_first=True)

    def mix(self, sequence: torch.Tensor) -> torch.Tensor:
        return self.layer(sequence)


def create_temporal_head(kind: str, channels: int) -> TemporalHead:
    """The head named `kind` in TEMPORAL_HEADS for embeddings of `channels`."""
    return lookup(TEMPORAL_HEADS, kind)(channels)


def fit_temporal_head(
    model: FaceClassifier,
    kind: str,
    faces: pd.DataFrame,
    dataset: FaceDataset,
    *,
    seed: int,
    weight_decay: float,
    ranking_weight: float,
    manipulations: dict[str, float],
    paired: bool,
    device: torch.device,
) -> None:
    """Give `model`, trained on single faces, a head of `kind` that learns from the same `faces`, which `dataset`
    reads.
    """
    torch.manual_seed(seed)
    model.to(device).eval()
    clips = paired_clips(faces, seed, manipulations, paired)
    embeddings, logits = _embed_clips(model, clips, dataset, device)
    head = create_temporal_head(kind, embeddings.shape[-1]).to(device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LR, weight_decay=weight_decay)
    order = torch.Generator().manual_seed(seed)
    labels = torch.tensor([1.0, 0.0], device=device)
    for _ in tqdm(range(EPOCHS), f"train {kind}", unit="epoch", leave=False):
        for rows in torch.randperm(len(logits), generator=order).split(BATCH_PAIRS):
            person_logits = (logits[rows].flatten(0, 1) + head(embeddings[rows].flatten(0, 1))).mean(dim=1)
            loss, *_ = paired_loss(person_logits, labels.repeat(len(rows)), ranking_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.temporal = head.eval()


@torch.no_grad()
def _embed_clips(
    model: FaceClassifier, clips: list[list[SampleKey]], dataset: FaceDataset, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (pairs, 2, CLIP_LENGTH, channels) and logits (pairs, 2, CLIP_LENGTH) of a fake and its original."""
    embeddings, logits = [], []
    for keys in tqdm(clips, "embed clips", unit="pair", leave=False):
        crops = torch.stack([dataset[key][0] for key in keys]).to(device)
        face_logits, _, embedding = model.forward_features(crops)
        embeddings.append(embedding.view(2, CLIP_LENGTH, -1))
        logits.append(face_logits.view(2, CLIP_LENGTH))
    return torch.stack(embeddings), torch.stack(logits)


def paired_clips(
    faces: pd.DataFrame, seed: int, manipulations: dict[str, float], paired: bool
) -> list[list[SampleKey]]:
    """CLIPS_PER_FAKE clips of each fake person: CLIP_LENGTH faces, then their original's faces at the same times.

    As in training on single faces, manipulations of a real person replace a share of the fakes, and a fake without
    its original goes beside any real person. A short track repeats its faces. `faces` holds each track in order of
    time.
    """
    rng = np.random.default_rng([seed, 2])
    originals = match_originals(faces) if paired else np.full(len(faces), -1)
    tracks = list(faces.groupby(["video_id", "track"], sort=False).indices.values())
    fake, people = faces["label"].to_numpy() == 1, people_of(faces)
    reals = [rows for rows in tracks if not fake[rows[0]]]

    def draw_clip(rows: np.ndarray) -> np.ndarray:
        start = int(rng.integers(0, max(1, len(rows) - CLIP_LENGTH + 1)))
        part = rows[start : start + CLIP_LENGTH]
        return part[np.linspace(0, len(part) - 1, CLIP_LENGTH).round().astype(int)]

    def draw_real(unlike: str = "") -> np.ndarray:
        """A clip of any real person but `unlike`, if there is another."""
        others = [rows for rows in reals if people[rows[0]] != unlike] or reals
        return draw_clip(others[rng.integers(len(others))])

    pairs: list[list[SampleKey]] = []
    for rows in CLIPS_PER_FAKE * [rows for rows in tracks if fake[rows[0]]]:
        one = draw_clip(rows)
        other = originals[one] if (originals[one] >= 0).all() else draw_real()
        name = str(draw_manipulations(manipulations, 1, rng)[0])
        donors = draw_real(unlike=people[other[0]]) if name else other
        key_seed = int(rng.integers(0, 2**62))
        first = [SampleKey(int(r), key_seed, name, int(d)) for r, d in zip(other if name else one, donors, strict=True)]
        pairs.append(first + [SampleKey(int(row), key_seed) for row in other])
    return pairs
