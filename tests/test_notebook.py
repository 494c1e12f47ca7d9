"""The notebook runs from top to bottom on what the stages write."""

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
    shutil.copytree(ROOT / "plots/train", in_project / "plots/train")
    shutil.copy(ROOT / "metrics/evaluate.json", in_project / "metrics/evaluate.json")
    (in_project / "stages").symlink_to(ROOT / "stages")
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
