"""Training of the heads that see a person's faces in order of time (model.temporal: gru, attention).

The network learns from single faces first. What it makes of a person's faces is then what the head learns from: what is to be
added to the answer for each face, so that all that follows (means, timelines, thresholds) is as without it.
"""

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from deepfake_detector.training.batching import CLIP_LENGTH
from deepfake_detector.training.dataset import FaceDataset, SampleKey, nearest_originals
from deepfake_detector.training.losses import paired_loss
from deepfake_detector.training.model import FaceClassifier, TemporalHead
from stages.params import Train

DRAWS = 4  # how often each fake person is seen, augmented anew
EPOCHS, LR, PAIRS = 20, 1e-3, 16  # passes over all that was seen, learning rate, and pairs in a step of the head


def fit_temporal_head(
    model: FaceClassifier, kind: str, faces: pd.DataFrame, dataset: FaceDataset, settings: Train, device: torch.device
) -> None:
    """Give `model`, already trained on faces, a head of `kind` that learns from the same `faces`, which `dataset` reads."""
    torch.manual_seed(settings.seed)
    model.to(device).eval()
    head = TemporalHead(kind, model.backbone.num_features).to(device)
    embeddings, logits = _embed_clips(model, paired_clips(faces, settings), dataset, device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LR, weight_decay=settings.weight_decay)
    order = torch.Generator().manual_seed(settings.seed)
    for _ in tqdm(range(EPOCHS), f"train {kind}", unit="epoch", leave=False):
        for rows in torch.randperm(len(logits), generator=order).split(PAIRS):
            answers = logits[rows].flatten(0, 1) + head(embeddings[rows].flatten(0, 1))
            labels = torch.tensor([1.0, 0.0], device=device).repeat(len(rows))
            loss = paired_loss(answers.mean(dim=1), labels, settings.rank)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.temporal = head.eval()


@torch.no_grad()
def _embed_clips(
    model: FaceClassifier, pairs: list[list[SampleKey]], dataset: FaceDataset, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (pairs, 2, STRETCH, channels) and logits (pairs, 2, STRETCH), fake then original."""
    embeddings, logits = [], []
    for keys in tqdm(pairs, "looking at people over time", unit="pair", leave=False):
        crops = torch.stack([dataset[key][0] for key in keys]).to(device)
        answer, _, embedding = model.forward_features(crops)
        embeddings.append(embedding.view(2, CLIP_LENGTH, -1))
        logits.append(answer.view(2, CLIP_LENGTH))
    return torch.stack(embeddings), torch.stack(logits)


def paired_clips(faces: pd.DataFrame, settings: Train) -> list[list[SampleKey]]:
    """DRAWS times for each fake person: STRETCH of their faces, then the original's at those moments, all drawn alike.

    As in training on faces, blends of a real person stand in for a share of the fakes, and a fake without an original is put
    beside any real person. Shorter tracks are stretched. `faces` holds each track in order of time.
    """
    rng = np.random.default_rng([settings.seed, 2])
    originals = nearest_originals(faces) if settings.pairs else np.full(len(faces), -1)
    tracks = list(faces.groupby(["video_id", "track"], sort=False).indices.values())
    fake = faces["label"].to_numpy() == 1
    reals = [rows for rows in tracks if not fake[rows[0]]]

    def part(rows: np.ndarray) -> np.ndarray:
        start = int(rng.integers(0, max(1, len(rows) - CLIP_LENGTH + 1)))
        end = min(len(rows), start + CLIP_LENGTH) - 1
        return rows[np.linspace(start, end, CLIP_LENGTH).round().astype(int)]

    def anybody() -> np.ndarray:
        return part(reals[rng.integers(len(reals))])

    pairs: list[list[SampleKey]] = []
    for rows in DRAWS * [rows for rows in tracks if fake[rows[0]]]:
        one = part(rows)
        other = originals[one] if (originals[one] >= 0).all() else anybody()
        way, donors = rng.random(), np.full(CLIP_LENGTH, -1)
        if way < settings.blend + settings.self_blend:
            one, donors = other, anybody() if way < settings.blend else other
        seed = int(rng.integers(0, 2**62))
        first = [(int(row), seed, int(donor)) for row, donor in zip(one, donors, strict=True)]
        pairs.append(first + [(int(row), seed, -1) for row in other])
    return pairs
