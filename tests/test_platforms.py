"""Platforms other than Linux: what they lack is not needed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from benchmarks.gpu import measure_all, table
from deepfake_detector import parallel_map as module
from deepfake_detector.corpora.group_assignment import _minimum_cut
from deepfake_detector.parallel_map import cpu_count, parallel_map

ROOT = Path(__file__).parent.parent


def test_cores_are_counted_where_processes_cannot_be_pinned(monkeypatch):
    """macOS and Windows have no sched_getaffinity."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert 1 <= cpu_count() <= os.cpu_count()
    assert dict(parallel_map(abs, [-1, -2], 0, "test", "item")) == {0: 1, 1: 2}


def test_memory_stays_unlimited_where_it_cannot_be_limited(monkeypatch):
    """Windows has no module resource; macOS refuses the limit."""
    monkeypatch.setitem(sys.modules, "resource", None)
    module._limit_memory(2**30)
    monkeypatch.undo()
    import resource

    def refuse(kind, limits):
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    module._limit_memory(2**30)


@pytest.mark.parametrize("name", ["sample", "extract", "split", "train", "evaluate", "export", "infer"])
def test_stage_starts_without_modules_that_only_unix_has(name):
    code = (
        "import sys, os, psutil; sys.modules.update(dict.fromkeys(['resource', 'fcntl', 'pymetis']));"
        "del os.sched_getaffinity;"
        f"sys.argv = ['{name}', '--help']; import runpy; runpy.run_module('stages.{name}', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: python -m stages" in done.stdout, done.stderr


def test_threads_that_wait_sleep_unless_the_user_wants_otherwise():
    """OMP_WAIT_POLICY must be set before torch is loaded."""
    code = "import stages.train, os; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    for given, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        said = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environment | given, text=True)
        assert said.split()[-1] == expected


def test_split_without_pymetis_says_where_it_runs(monkeypatch):
    """pymetis has no build for Windows."""
    monkeypatch.setitem(sys.modules, "pymetis", None)
    linked = csr_matrix(np.ones((1, 6), int))
    with pytest.raises(ImportError, match="WSL"):
        _minimum_cut(linked, np.ones(6, int), [0.5, 0.5], 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_all_stages_and_heads_give_the_same_bytes_twice_on_a_gpu(tmp_path):
    rows = measure_all(tmp_path)
    assert all(row.same for row in rows), table(rows)
