"""The sample corpus has no shortcuts: nothing but the face separates fake from real clips better than chance."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepfake_detector.corpora.identity_graph import identity_groups
from deepfake_detector.corpora.labels import read_labels
from deepfake_detector.corpora.sample_corpus import face_mask
from deepfake_detector.faces.alignment import align_face, landmark_template
from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames
from stages import sample

SIZE, MARGIN = 96, 0.5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The whole corpus, as the sample stage writes it, with one row of features for each clip."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "params.yaml").write_bytes((Path(__file__).parent.parent / "params.yaml").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["sample"])
        sample.main()
        labels = read_labels("data/sample/labels.csv", "data/sample")
        labels["path"] = [str(folder / path) for path in labels["path"]]
    labels["group"] = identity_groups(labels)
    return labels


def codec_figures(path):
    """Bytes, frames, and sizes of packets by kind: the features of a file that is not decoded."""
    with av.open(path) as container:
        sizes = [(packet.is_keyframe, packet.size) for packet in container.demux(video=0) if packet.size]
    key, rest = (np.array([size for is_key, size in sizes if is_key == wanted]) for wanted in (True, False))
    return [len(sizes), key.sum() + rest.sum(), key.mean(), rest.mean(), rest.std(), np.median(rest), rest.max()]


def picture_statistics(path):
    """Brightness, contrast, sharpness and noise of whole frames, and their changes over time."""
    rows = []
    for frame in read_frames(path, [5, 25, 45]):
        gray = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
        edges, fine = cv2.Laplacian(gray, cv2.CV_64F), gray - cv2.GaussianBlur(gray, (0, 0), 1.0).astype(float)
        rows.append([gray.mean(), gray.std(), np.log(edges.var()), fine.std(), *np.percentile(gray, [5, 50, 95])])
    return [*np.mean(rows, axis=0), *np.std(rows, axis=0)]


def surroundings(path, detector):
    """Small aligned crops of two frames, in which everything that a swap may change is masked."""
    points = landmark_template(SIZE, MARGIN)
    mask = face_mask((SIZE, SIZE), points, float(points[1, 0] - points[0, 0]), 1.6, 1.6) > 0
    crops = []
    for frame in read_frames(path, [10, 40]):
        landmarks = detector.detect(frame.image)[0].landmarks
        crop = cv2.cvtColor(align_face(frame.image, landmarks, SIZE, MARGIN), cv2.COLOR_BGR2GRAY)
        crop[mask] = 0
        crops.append(cv2.resize(crop, (24, 24), interpolation=cv2.INTER_AREA).ravel())
    return np.concatenate(crops).astype(float)


def cross_validated_auc(model, features, labels):
    scores = cross_val_predict(
        model, features, labels["label"], groups=labels["group"], cv=GroupKFold(10), method="predict_proba"
    )
    return roc_auc_score(labels["label"], scores[:, 1])


def chance(labels):
    """The AUC that a random score stays below in 97.5 % of corpora of this size (Hanley & McNeil 1982)."""
    real, fake = (labels["label"] == 0).sum(), (labels["label"] == 1).sum()
    return 0.5 + 1.96 * np.sqrt((real + fake + 1) / (12 * real * fake))


MODELS = {
    "linear": make_pipeline(StandardScaler(), PCA(0.99, random_state=0), LogisticRegression(C=0.1, max_iter=2000)),
    "forest": RandomForestClassifier(300, min_samples_leaf=3, random_state=0, n_jobs=2),
}


@pytest.mark.parametrize("model", MODELS)
def test_file_and_frame_statistics_do_not_separate_fakes(corpus, model):
    features = np.array([[*codec_figures(path), *picture_statistics(path)] for path in corpus["path"]])
    assert cross_validated_auc(MODELS[model], features, corpus) < chance(corpus)


@pytest.mark.parametrize("model", MODELS)
def test_surroundings_of_the_face_do_not_separate_fakes(corpus, model):
    detector = create_face_detector("centerface", 0.2)
    features = np.array([surroundings(path, detector) for path in corpus["path"]])
    assert cross_validated_auc(MODELS[model], features, corpus) < chance(corpus)


def test_a_planted_shortcut_is_found(corpus):
    """Stronger compression of the fakes, as in some real corpora, separates them."""
    features = np.array([codec_figures(path) for path in corpus["path"]])
    features[corpus["label"] == 1, 1:] *= 0.4
    assert cross_validated_auc(MODELS["forest"], features, corpus) > chance(corpus)


def test_a_fake_is_as_long_as_its_original(corpus):
    frames = corpus.assign(frames=[probe(path).frames for path in corpus["path"]])
    originals = frames.set_index("video_id")["frames"]
    fakes = frames[frames["label"] == 1]
    assert (fakes["frames"].to_numpy() == originals[fakes["source_video"]].to_numpy()).all()
