"""Seconds that DVC takes to push archives of faces to an S3 server on this machine, and to pull them into a clone.

    python -m benchmarks.remote [--archives 1000] [--kilobytes 60]

Needs requirements-remote.txt and requirements-dev.txt. The archives hold random bytes. The server is moto's, which
keeps everything in memory: a real one differs by its network.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import command_line, environment

SERVER = "from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
DVC_YAML = "stages:\n  extract:\n    cmd: 'true'\n    deps: [labels.csv]\n    outs: [faces, faces.parquet]\n"


def run(folder: Path, *command: str) -> str:
    return subprocess.run(command, cwd=folder, env=environment(), text=True, capture_output=True, check=True).stdout


def timed(title: str, folder: Path, *command: str) -> str:
    start = time.perf_counter()
    said = run(folder, *command)
    print(f"| {title} | `{' '.join(command)}` | {time.perf_counter() - start:.1f} |", flush=True)
    return said


def make_repository(folder: Path, archives: int, size: int) -> None:
    (folder / "faces").mkdir(parents=True)
    rng = random.Random(1)
    for i in range(archives):
        (folder / f"faces/{i:06d}.zip").write_bytes(rng.randbytes(size))
    for name, content in (("labels.csv", "video_id\n"), ("faces.parquet", ""), ("dvc.yaml", DVC_YAML)):
        (folder / name).write_text(content)
    for command in ("git init -q", "git config user.email a@b", "git config user.name a", "dvc init -q"):
        run(folder, *command.split())
    run(folder, "dvc", "remote", "add", "--default", "storage", "s3://bucket/deepfakes")


def measure(folder: Path, archives: int, size: int) -> None:
    import s3fs

    s3fs.S3FileSystem().mkdir("bucket")
    mine, theirs = folder / "mine", folder / "theirs"
    make_repository(mine, archives, size)
    print(f"{archives} archives of {size // 1000} kB.\n", flush=True)
    print("| | command | seconds |\n|---|---|---|")
    timed("put under version control", mine, "dvc", "commit", "-f", "extract")
    run(mine, "git", "add", "-A")
    run(mine, "git", "commit", "-qm", "faces")
    timed("push", mine, "dvc", "push")
    run(folder, "git", "clone", "-q", str(mine), str(theirs))
    timed("pull into a fresh clone", theirs, "dvc", "pull")
    said = timed("reproduce there", theirs, "dvc", "repro")
    print(f"\n{'nothing was computed again' if 'Running stage' not in said else 'COMPUTED AGAIN'}")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--archives", type=int, default=1000)
    parser.add_argument("--kilobytes", type=int, default=60)
    parser.add_argument("--port", type=int, default=5123)
    options = parser.parse_args()
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{options.port}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        os.environ[name] = "us-east-1"
    server = subprocess.Popen([sys.executable, "-c", SERVER.format(port=options.port)], stderr=subprocess.DEVNULL)
    try:
        with tempfile.TemporaryDirectory() as folder:
            time.sleep(5)  # the server starts
            measure(Path(folder), options.archives, options.kilobytes * 1000)
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
