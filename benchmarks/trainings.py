"""Trainings of a benchmark: each runs in a folder with a params.yaml of its own, one on each core."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import yaml

Tree = dict[str, dict[str, Any]]  # params.yaml: section to key to value
Cell = TypeVar("Cell")
Result = TypeVar("Result")
PROJECT = Path(__file__).parent.parent
INPUTS = ("videos", "labels", "faces", "index", "extract_report")  # of data.*: what the stages before a split made


def read_params(overrides: dict[str, Any], params: Tree | None = None) -> Tree:
    """A copy of `params`, or else of params.yaml, with `overrides`, whose keys name the section and the param."""
    params = copy.deepcopy(params or yaml.safe_load(Path("params.yaml").read_text()))
    for key, value in overrides.items():
        *sections, name = key.split(".")
        reduce(getitem, sections, params)[name] = value
    return params


def with_inputs_of(params: Tree, folder: Path) -> Tree:
    """`params` that read the faces in `folder` from wherever a stage runs."""
    inputs = {key: str(folder.resolve() / params["data"][key]) for key in INPUTS}
    return params | {"data": params["data"] | inputs}


def run_stages(folder: Path, params: Tree, *stages: str) -> None:
    """Run `stages` in `folder` with `params`, unless the last run there finished with the same ones.

    A stage is a name, or a module that stands for one. The stages run on one thread. Raises CalledProcessError.
    """
    used, finished, text = folder / "params.yaml", folder / "finished", yaml.safe_dump(params)
    if finished.is_file() and finished.read_text() == text:
        return
    folder.mkdir(parents=True, exist_ok=True)
    finished.unlink(missing_ok=True)  # what is killed half-way leaves no result of other params
    used.write_text(text)
    env = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    for stage in stages:
        module = stage if "." in stage else f"stages.{stage}"
        subprocess.run([sys.executable, "-m", module], check=True, cwd=folder, env=env)
    finished.write_text(text)


def on_each_core(function: Callable[[Cell], Result], cells: Iterable[Cell]) -> dict[Cell, Result]:
    """`function` of every cell, one on each core. Once one fails, none of the rest is begun."""
    cells = list(cells)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(cells, pool.map(function, cells), strict=True))


def read_test_videos(folder: Path) -> pd.DataFrame:
    """`video_id,label,logit,probability,group` of the scored test videos of an evaluation in `folder`."""
    data = yaml.safe_load((folder / "params.yaml").read_text())["data"]
    videos = pd.read_csv(folder / data["predictions"], dtype={"video_id": str})
    splits = pd.read_csv(folder / data["splits"], dtype={"video_id": str})
    videos = videos[(videos["partition"] == "test") & videos["logit"].notna()].merge(splits, on="video_id")
    return videos[["video_id", "label", "logit", "probability", "group"]]
