"""One logit of a person from those of their faces: each a function of logits (n,), n > 0."""

import numpy as np

TOP = 0.25  # share of a person's faces that top_k looks at


def mean_logit(logits: np.ndarray) -> float:
    return float(np.mean(logits, dtype=float))


def median(logits: np.ndarray) -> float:
    return float(np.median(np.asarray(logits, float)))


def top_k(logits: np.ndarray) -> float:
    """Mean of the highest quarter: for fakes that show in some moments only."""
    k = max(1, round(TOP * len(logits)))
    return float(np.sort(np.asarray(logits, float))[-k:].mean())


def vote(logits: np.ndarray) -> float:
    """Each face says real or fake; the log-odds of their votes, half a vote added to each side (Haldane 1956)."""
    fake = float((np.asarray(logits) >= 0).sum())
    return float(np.log((fake + 0.5) / (len(logits) - fake + 0.5)))


POOLING = {"mean_logit": mean_logit, "median": median, "top_k": top_k, "vote": vote}
