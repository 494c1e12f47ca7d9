"""The recipe of the released detector."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from training_data import make_config

from deepfake_detector.training.checkpoint import save_detector
from deepfake_detector.training.model import create_model
from deepfake_detector.training.scoring import batch_crops, predict_logits
from release import head, publish


@pytest.mark.parametrize(("images", "repeats"), [(3, 1), (10, 1), (41, 4)])
def test_calibration_takes_every_image_and_every_video_of_dev(monkeypatch, images, repeats):
    """Where there are fewer images than videos, as with a small `limit`, too."""
    monkeypatch.setattr(publish, "score_partition", lambda *_: pd.DataFrame({"logit": range(images)}))
    monkeypatch.setattr(publish, "score_corpus", lambda *_: pd.DataFrame({"logit": range(100, 110)}))
    table = publish.calibration_data(None, make_config(), None)
    assert (table["logit"] < 100).sum() == images
    assert table.loc[table["logit"] >= 100, "logit"].value_counts().tolist() == [repeats] * 10


def test_last_layer_rests_on_cues_that_reencoding_leaves():
    """Two cues tell fakes from genuine faces; H.264 takes one of them away."""
    rng = np.random.default_rng(0)
    images = pd.DataFrame({"video_id": [f"v{i}" for i in range(400)], "label": np.arange(400) % 2})
    faces = pd.concat([images.assign(frame=0), images.assign(frame=1)], ignore_index=True)
    embeddings = rng.normal(0, 0.1, (800, 3))
    embeddings[:, 0] += 2 * faces["label"] * (faces["frame"] == 0)
    embeddings[:, 1] += faces["label"]
    weights, bias = head.fit_head(embeddings, faces, 0.1)
    trusting, _ = head.fit_head(embeddings, faces, 1e6)
    assert weights[1] > 10 * weights[0] > 0
    assert trusting[1] == pytest.approx(trusting[0], rel=0.1)
    logits = embeddings @ weights + bias
    assert logits[faces["label"] == 1].min() > 0 > logits[faces["label"] == 0].max()


def test_average_of_weights_lies_between_those_of_training_and_start(tmp_path):
    config = make_config()
    model, start = (create_model(config.backbone, size=config.geometry.size) for _ in range(2))
    save_detector(tmp_path / "start.safetensors", start, config)
    params = SimpleNamespace(model=SimpleNamespace(weights=str(tmp_path / "start.safetensors")))
    trained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    head.average_with_start(model, config, params, 0.25)
    for name, tensor in model.state_dict().items():
        expected = 0.75 * trained[name] + 0.25 * start.state_dict()[name]
        torch.testing.assert_close(tensor, expected.to(tensor.dtype))


def test_new_last_layer_gives_its_logits_to_crops():
    model = create_model("resnet10t", size=32).eval()
    crops = list(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8))
    faces = pd.DataFrame({"video_id": list("aabbcc"), "track": 0})
    weights = np.linspace(-1, 1, model.backbone.num_features)
    embeddings = head.embed(model, crops, faces, 4)
    head.set_head(model, weights, 0.5)
    logits = predict_logits(model, batch_crops(crops, [6]), torch.device("cpu"))
    np.testing.assert_allclose(embeddings @ weights + 0.5, logits, atol=0.05)  # bfloat16 beside float32
