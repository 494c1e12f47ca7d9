"""Videos and DVC's files on an S3 server: the same bytes as from a disk, and nothing is computed twice."""

from pathlib import Path

import fsspec
import pytest
from test_pipeline import SMALL, clone, ran, run  # noqa: F401 (clone is a fixture)

from stages import extract


@pytest.fixture(scope="module")
def bucket():
    """The URL of an empty bucket on a server of its own; this process and its children know the server."""
    server = pytest.importorskip("moto.server", reason="moto is not installed (requirements-dev.txt)")
    pytest.importorskip("dvc_s3", reason="dvc-s3 is not installed (requirements-remote.txt)")
    running = server.ThreadedMotoServer("127.0.0.1", 0)
    running.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*running.get_host_and_port()))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            patch.setenv(name, "us-east-1")
        fsspec.filesystem("s3").mkdir("corpus")
        yield "s3://corpus"
    running.stop()


def outputs(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_labels_with_urls_extract_to_the_same_bytes_as_with_paths(bucket, in_project, monkeypatch, clip_folder):
    clips = sorted(clip_folder.glob("*.mp4"))
    for clip in clips:
        fsspec.filesystem("s3").put(str(clip), f"{bucket}/videos/{clip.name}")
    for name, place in (("disk", clip_folder), ("bucket", f"{bucket}/videos")):
        rows = [f"{clip.stem},{place}/{clip.name},real" for clip in clips]
        Path(f"{name}.csv").write_text(
            "\n".join(["video_id,filepath,label", *rows, f"none,{place}/no.mp4,real"]) + "\n"
        )
        options = f"--data.labels {name}.csv --data.faces {name}/faces --data.index {name}/faces.parquet"
        monkeypatch.setattr("sys.argv", ["extract", *options.split(), "--frames", "4", "--workers", "2"])
        extract.main()
    disk, remote = outputs(Path("disk")), outputs(Path("bucket"))
    reports = [found.pop("extract_report.csv").decode().splitlines() for found in (disk, remote)]
    assert disk == remote and len(disk) == len(clips) + 2
    assert reports[0][:-1] == reports[1][:-1]
    assert "no.mp4" in reports[1][-1] and "unreadable" in reports[1][-1]


def test_colleague_pulls_from_the_bucket_and_computes_nothing_again(bucket, clone, tmp_path):  # noqa: F811
    params = clone / "params.yaml"
    params.write_text(params.read_text().replace(f"pairs: {SMALL['sample']['pairs']}\n", "pairs: 1\n"))
    assert ran(run(clone, "dvc", "repro", "extract")) == ["sample", "extract"]
    run(clone, "dvc", "remote", "add", "--default", "storage", f"{bucket}/dvc")
    run(clone, "dvc", "push")
    run(clone, "git", "add", "-A")
    run(clone, "git", "commit", "-qm", "results")
    theirs = tmp_path / "theirs"
    run(tmp_path, "git", "clone", "-q", str(clone), "theirs")
    run(theirs, "dvc", "pull", "extract")
    assert outputs(theirs / "data/faces") == outputs(clone / "data/faces")
    assert ran(run(theirs, "dvc", "repro", "--allow-missing", "extract")) == []  # without the videos
    run(theirs, "dvc", "pull", "sample")
    assert ran(run(theirs, "dvc", "repro", "extract")) == []
