"""A Ray cluster of two nodes gives what one machine gives, whatever happens to its nodes and workers."""

import os
import secrets
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from deepfake_detector.parallel_map import parallel_map
from deepfake_detector.ray_map import WorkerLostError, ray_map
from stages import extract, infer

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core each; worker processes import from the project and from its tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
        patch.setenv("RAY_AUTH_MODE", "token")  # Ray reads it when it is imported
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        pytest.importorskip("ray", reason="Ray is not installed (requirements-cluster.txt)")
        from ray.cluster_utils import Cluster

        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        nodes.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", nodes.address)
        yield nodes
        nodes.shutdown()


@pytest.fixture
def spare_node(cluster):
    """A third node, whose processes find SPARE_NODE in their environment."""
    node = cluster.add_node(num_cpus=1, env_vars={"SPARE_NODE": "yes"})
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_nodes_extract_and_judge_to_the_same_bytes_as_one_machine(
    cluster, in_project, monkeypatch, clip_folder, exported
):
    (in_project / "broken.mp4").write_bytes(b"no video")
    clips = [*sorted(clip_folder.glob("*.mp4")), in_project / "broken.mp4"]
    rows = [f"{clip.stem},{clip},real" for clip in clips]
    Path("labels.csv").write_text("\n".join(["video_id,filepath,label", *rows]) + "\n")
    for executor in ("local", "ray"):
        options = f"--data.labels labels.csv --data.faces {executor}/faces --data.index {executor}/faces.parquet"
        options += f" --frames 4 --size 64 --cache false --workers 2 --executor {executor}"
        monkeypatch.setattr("sys.argv", ["extract", *options.split()])
        extract.main()
        options = f"--checkpoint {exported} --output {executor}/results --workers 2 --executor {executor}"
        monkeypatch.setattr("sys.argv", ["infer", *map(str, clips), *options.split()])
        with pytest.raises(SystemExit) as stop:
            infer.main()
        assert stop.value.code == 3  # one video cannot be read
    assert contents(Path("ray")) == contents(Path("local"))
    assert len(list(Path("ray/faces").iterdir())) == len(clips) - 1


class Handed(list):
    """A list that counts the items that were taken out of it."""

    taken = 0

    def __getitem__(self, position):
        self.taken += 1
        return super().__getitem__(position)


def process_and_worker(_):
    time.sleep(0.2)
    return os.getpid(), os.getppid()


def test_each_node_keeps_one_process_and_gets_an_item_only_when_it_is_free(cluster):
    items = Handed(range(12))
    outcomes = ray_map(process_and_worker, items, 0, "test", "item")
    first = next(outcomes)
    assert items.taken <= 3
    seen = {first[1], *(outcome for _, outcome in outcomes)}
    assert len(seen) == len({worker for _, worker in seen}) == 2


def act(order):
    """What a worker does in the test below."""
    if order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "kill the worker":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    if order == "hang":
        time.sleep(600)
    if order == "allocate":
        return len(bytearray(3 * 2**30))
    return order


def test_item_that_dies_hangs_or_needs_too_much_memory_ends_as_it_does_locally(cluster):
    orders = ["first", "die", "second", "hang", "third", "allocate", "fourth"]
    limits = {"timeout": 4, "memory": 2}
    here, there = (dict(run(act, orders, 2, "test", "order", **limits)) for run in (parallel_map, ray_map))
    assert {i: repr(outcome) for i, outcome in there.items()} == {i: repr(outcome) for i, outcome in here.items()}
    assert there[1].exitcode == -signal.SIGKILL


def test_item_that_always_loses_its_worker_is_given_up_and_costs_no_other(cluster):
    outcomes = dict(ray_map(act, ["first", "kill the worker", "second", "third"], 2, "test", "order"))
    assert isinstance(outcomes.pop(1), WorkerLostError)
    assert sorted(outcomes.values()) == ["first", "second", "third"]


def hang_on_spare_node(begun):
    """Never returns on the spare node, and elsewhere not before the spare node has an item."""
    if "SPARE_NODE" in os.environ:
        begun.touch()
        time.sleep(600)
    while not begun.exists():
        time.sleep(0.05)
    return "done"


def test_node_that_is_killed_in_the_middle_costs_no_item(cluster, spare_node, tmp_path):
    begun = tmp_path / "begun"

    def kill_spare_node():
        while not begun.exists():
            time.sleep(0.05)
        cluster.remove_node(spare_node, allow_graceful=False)

    killer = threading.Thread(target=kill_spare_node)
    killer.start()
    outcomes = dict(ray_map(hang_on_spare_node, [begun] * 6, 3, "test", "item"))
    killer.join()
    assert outcomes == dict.fromkeys(range(6), "done")


def test_stage_says_what_the_executor_ray_needs(in_project, monkeypatch, real_clip, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    Path("labels.csv").write_text(f"video_id,filepath,label\na,{real_clip},real\n")
    options = "--data.labels labels.csv --data.faces out --data.index out.parquet --executor ray"
    monkeypatch.setattr("sys.argv", ["extract", *options.split()])
    with pytest.raises(SystemExit) as stop:
        extract.main()
    assert stop.value.code == 2 and "requirements-cluster.txt" in capsys.readouterr().err
