"""The notebook runs from top to bottom on what the stages write."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from stages import extract

ROOT = Path(__file__).parent.parent


@pytest.fixture
def outputs(in_project, clip_folder, recipes, monkeypatch):
    """The outputs of all stages up to evaluate, of a corpus of one real clip and its fakes."""
    shutil.copytree(clip_folder, in_project / "data/sample")
    clips = sorted(recipes.values(), key=lambda clip: clip.video_id)
    real = recipes["real"].video_id
    rows = [
        f"{c.video_id},{c.video_id}.mp4,{'fake' if c.method else 'real'},{real if c.method else ''},{c.method}"
        for c in clips
    ]
    (in_project / "data/sample/labels.csv").write_text(
        "\n".join(["video_id,filepath,label,source_video,method", *rows]) + "\n"
    )
    monkeypatch.setattr("sys.argv", ["extract", "--frames", "4", "--size", "64", "--workers", "1"])
    extract.main()
    splits = [f"{clip.video_id},test,0,0" for clip in clips]
    (in_project / "data/splits.csv").write_text("\n".join(["video_id,partition,group,fold", *splits]) + "\n")
    scores = [f"{clip.video_id},test,{int(bool(clip.method))},0.{i + 1},0,real,4,4" for i, clip in enumerate(clips)]
    header = "video_id,partition,label,probability,logit,verdict,frames,faces"
    (in_project / "data/predictions.csv").write_text("\n".join([header, *scores]) + "\n")
    curves = in_project / "plots/train/plots/metrics"
    curves.mkdir(parents=True)
    for name in ("loss", "val_auc"):
        (curves / f"{name}.tsv").write_text(f"step\t{name}\n0\t0.7\n1\t0.6\n")
    video = {"auc": 0.8, "auc_low": 0.6, "auc_high": 0.9, "threshold": 0.5}
    (in_project / "reports").mkdir()
    (in_project / "reports/metrics.json").write_text(json.dumps({"test": {"video": video}}))
    for package in ("stages", "deepfake_detector"):
        (in_project / package).symlink_to(ROOT / package)
    return in_project


def test_notebook_runs_from_top_to_bottom_and_shows_pictures(outputs):
    notebook = nbformat.read(ROOT / "notebooks/explore.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "kept without outputs: they are those of one corpus"
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(outputs)}}
    ).execute()
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 4
