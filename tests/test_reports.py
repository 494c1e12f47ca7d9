"""Plots, page and model card, with text from labels that would break them if it were markup."""

import json
import re

import cv2
import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from deepfake_detector.evaluation import tables
from deepfake_detector.evaluation.calibration import Calibration, sigmoid
from deepfake_detector.evaluation.curves import write_curves, write_json
from deepfake_detector.evaluation.error_gallery import draw_error_gallery
from deepfake_detector.evaluation.plots import plot_evaluation
from deepfake_detector.evaluation.report import (
    calibration_text,
    describe_corpus,
    known_failures,
    report_context,
    write_card,
    write_page,
)
from deepfake_detector.evaluation.results import all_metrics, evaluate_detector, headline_metrics
from deepfake_detector.evaluation.scored_videos import ScoredVideos, add_verdicts
from deepfake_detector.faces.archive import write_archive

BOOTSTRAP = tables.Resampling(50, 1)
CALIBRATION = Calibration(scale=1, bias=0, threshold=0.64, low=0.6, high=0.7)
MARKUP = "$\\frac{x$ | <b>*a*\n_b_ `c` [d](e) & # ~~f~~"
VIDEO = "v$\\frac{0"  # start of the names of all videos


@pytest.fixture
def corpus(tmp_path):
    """Scored val and test videos of which each fake was made by a method with a name full of markup."""
    rng = np.random.default_rng(0)
    videos = pd.DataFrame({"video_id": [f"{VIDEO}{i}" for i in range(40)], "label": np.arange(40) % 2})
    videos = videos.assign(partition=np.where(np.arange(40) < 20, "val", "test"), group=np.arange(40) // 4)
    videos["method"] = np.where(videos["label"] == 1, MARKUP, "")
    faces = videos.drop(columns="method").assign(
        track=0, time=0.0, member="0.png", logit=rng.normal(2 * videos["label"] - 1, 2)
    )
    image = cv2.imencode(".png", np.full((8, 8, 3), 128, np.uint8))[1].tobytes()
    for name in videos["video_id"]:
        write_archive(tmp_path / f"{name}.zip", [("0.png", image)])
    report = pd.DataFrame({"video_id": videos["video_id"], "status": "ok"})
    return ScoredVideos(add_verdicts(faces, videos, CALIBRATION), faces, tmp_path, report)


@pytest.fixture
def results(corpus):
    results = evaluate_detector(corpus, {}, CALIBRATION, corpus.videos, BOOTSTRAP)
    row = BOOTSTRAP.summary(corpus.scored("test"), 0.5) | {"family": "blur", "coverage": 1.0}
    original = row | {"strength": None, "auc_change": 0.0, "auc_change_low": None, "auc_change_high": None}
    blurred = row | {"strength": 2, "auc_change": -0.1, "auc_change_low": -0.2, "auc_change_high": -0.05}
    return results | {"robustness": [original, blurred], "seen_in_training": {}}


@pytest.fixture
def context(corpus, results):
    geometry = {"size": 96, "margin": 0.3, "detector": "centerface", "frames": 16, "fps": None}
    detector = {"backbone": "resnet18", "geometry": geometry, "calibration": CALIBRATION.model_dump(), "params": {}}
    detector |= {"corpus": "abc", "epoch": 1, "val_auc": 0.9, "description": f"trained on {MARKUP}"}
    settings = {"bootstrap": 50, "robustness": "quick", "allow_leaks": [], "is_sample": False, "trained_here": True}
    return report_context(results, detector, describe_corpus(corpus.videos), settings)


def test_markup_in_labels_is_drawn_as_plain_text(corpus, results, tmp_path):
    """Matplotlib raises an error for mathematics that it cannot parse."""
    plot_evaluation(tmp_path / "plots", corpus.scored("val"), corpus.scored("test"), results, CALIBRATION)
    names = {"roc", "precision_recall", "det", "reliability", "confusion", "histogram", "breakdown", "robustness"}
    assert {path.stem for path in (tmp_path / "plots").glob("*.png")} == names
    gallery = tmp_path / "gallery.png"
    draw_error_gallery(gallery, corpus.scored("test"), corpus.faces, corpus.folder, 0.64)
    assert gallery.read_bytes().startswith(b"\x89PNG")


def test_plots_of_an_earlier_evaluation_are_removed(corpus, results, tmp_path):
    (tmp_path / "old.png").touch()
    plot_evaluation(tmp_path, corpus.scored("val").iloc[:0], corpus.scored("test").iloc[:0], results, CALIBRATION)
    assert {path.stem for path in tmp_path.glob("*.png")} == {"confusion", "histogram", "breakdown", "robustness"}


def test_markup_in_labels_is_text_in_the_model_card(context, tmp_path):
    write_card(tmp_path / "card.md", context)
    card = (tmp_path / "card.md").read_text()
    html = MarkdownIt("gfm-like", {"linkify": False}).render(card)
    shown = " ".join(MARKUP.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    cells = re.findall(r"<td[^>]*>(method: .*?)</td>", html)
    assert len(cells) == 1 and cells[0].startswith(f"method: {shown}")
    assert f"Methods of the fakes: {shown}." in html and f"for method = {shown}: " in html
    assert not re.search(r"(?<!\\)\$", card)  # GitHub would set it as mathematics


def test_markup_in_labels_is_text_in_the_page(context, tmp_path):
    write_page(tmp_path / "page.html", context, tmp_path, tmp_path / "gallery.png")
    page = (tmp_path / "page.html").read_text()
    assert "<b>*a*" not in page and "&lt;b&gt;*a*" in page


def test_model_card_names_the_operating_point_and_the_failures(context, tmp_path):
    write_card(tmp_path / "card.md", context)
    card = (tmp_path / "card.md").read_text()
    assert (
        "A video is flagged from\n0.640 on (operating point `eer`). Between 0.600 and 0.700 the verdict is uncertain."
        in card
    )
    assert "Gaussian blur (σ in pixels of the crop) at 2: AUC falls by 0.100" in card


def test_known_failures_tell_a_test_set_of_one_class_from_one_without_a_score(results):
    said = []
    for n in (0, 20):
        levels = {"test": {"video": results["levels"]["test"]["video"] | {"n": n, "recall": None}}}
        said.append(known_failures(results | {"levels": levels})[0])
    assert "No test video has a score" in said[0] and "all of one class" in said[1]


def test_card_and_page_of_a_detector_from_elsewhere_give_its_own_description(context, tmp_path):
    card, page, texts = tmp_path / "card.md", tmp_path / "page.html", {}
    for here in (True, False):
        settings = context["settings"] | {"is_sample": True, "trained_here": here}
        write_card(card, context | {"settings": settings})
        write_page(page, context | {"settings": settings}, tmp_path, tmp_path / "none.png")
        texts[here] = card.read_text(), page.read_text()
    own = ("was trained on the embedded sample corpus", "come from validation videos alone", "video AUC 0.900 on valid")
    assert all(words in texts[True][0] and words not in texts[False][0] for words in own)
    foreign = ("is not the one that the detector was trained on", "Evaluated on the partitions", "trained on $\\\\frac")
    assert all(words in texts[False][0].replace("\\$", "$") for words in foreign)
    assert not any(words in texts[True][0] for words in foreign[:2])
    assert "trained on other data" in texts[False][1] and "trained on other data" not in texts[True][1]


def test_page_card_and_metrics_say_that_a_further_corpus_was_seen_in_training(corpus, results, context, tmp_path):
    warning = "The metrics of the detector on corpus other are too good"
    seen = {"seen_in_training": {"other": warning}}
    corpora = [context["corpora"][0], context["corpora"][0] | {"corpus": "other"}]
    write_page(tmp_path / "page.html", context | seen | {"corpora": corpora}, tmp_path, tmp_path / "none.png")
    write_card(tmp_path / "card.md", context | seen | {"corpora": corpora})
    assert all(warning in (tmp_path / name).read_text() for name in ("page.html", "card.md"))
    assert all_metrics(results | seen | {"corpora": corpora})["corpora"]["other"]["seen_in_training"] == warning


def test_headline_metrics_are_a_dozen_of_the_test_set(results):
    headline = headline_metrics(results)
    names = ["auc", "auc_low", "auc_high", "ap", "eer", "accuracy", "recall", "fpr", "log_loss", "ece"]
    assert list(headline) == ["video", "frame", "coverage", "threshold"] and list(headline["video"]) == names
    full = all_metrics(results)
    assert all(full["test"]["video"][name] == headline["video"][name] for name in names)
    assert full["test"]["frame"]["auc"] == headline["frame"]["auc"] != full["val"]["frame"]["auc"]
    assert headline["threshold"] == 0.64 and headline["coverage"] == 1
    json.dumps([headline, full], allow_nan=False)


def test_json_is_strict(corpus, results, tmp_path):
    write_curves(tmp_path, corpus.scored("val"), corpus.scored("test"), results)
    files = list(tmp_path.glob("*.json"))
    assert len(files) == 16
    for path in files:
        json.loads(path.read_text(), parse_constant=pytest.fail)  # which it calls for NaN and Infinity
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "bad.json", {"auc": float("nan")})
    assert not (tmp_path / "bad.json").exists()


@pytest.mark.parametrize(
    ("name", "x", "y"), [("roc", "fpr", "tpr"), ("det", "fpr", "fnr"), ("precision_recall", "recall", "precision")]
)
def test_curve_starts_at_its_lowest_x_and_points_of_equal_x_follow_the_curve(corpus, results, tmp_path, name, x, y):
    """`dvc plots` sorts by x, and draws points of equal x in the given order."""
    write_curves(tmp_path, corpus.scored("val"), corpus.scored("test"), results)
    curve = pd.read_json(tmp_path / f"{name}_test.json")
    assert curve[x].is_monotonic_increasing and len(curve) > 4
    steps = curve[y].diff()[curve[x].diff() == 0]
    assert len(steps) and ((steps > 0).all() if name == "roc" else (steps < 0).all())


def test_text_says_whether_calibration_helped():
    """Probabilities that are right as they are, a calibration that spoils them, and one that undoes the damage."""
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 2000)
    test = pd.DataFrame(
        {"label": (rng.random(2000) < sigmoid(logit)).astype(int), "logit": logit, "group": np.arange(2000) // 20}
    )
    spoiling = Calibration(scale=5, bias=1, threshold=0.5, low=0.4, high=0.6)
    change = tables.calibration_change(test, spoiling, BOOTSTRAP)
    assert change["ece_change_low"] > 0 and "Calibration does not lower it" in calibration_text(change)
    undone = tables.calibration_change(
        test.assign(logit=5 * logit + 1), Calibration(**spoiling.model_dump() | {"scale": 0.2, "bias": -0.2}), BOOTSTRAP
    )
    assert undone["ece_change_high"] < 0 and "Calibration lowers it" in calibration_text(undone)
    assert "not known" in calibration_text({})
