"""The recipe of the released detector."""

import pandas as pd
import pytest
from training_data import make_config

from release import publish


@pytest.mark.parametrize(("images", "repeats"), [(3, 1), (10, 1), (41, 4)])
def test_calibration_takes_every_image_and_every_video_of_dev(monkeypatch, images, repeats):
    """Where there are fewer images than videos, as with a small `limit`, too."""
    monkeypatch.setattr(publish, "score_partition", lambda *_: pd.DataFrame({"logit": range(images)}))
    monkeypatch.setattr(publish, "score_corpus", lambda *_: pd.DataFrame({"logit": range(100, 110)}))
    table = publish.calibration_data(None, make_config(), None)
    assert (table["logit"] < 100).sum() == images
    assert table.loc[table["logit"] >= 100, "logit"].value_counts().tolist() == [repeats] * 10
