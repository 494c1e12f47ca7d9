"""The stages that dvc.yaml runs: sample, extract, split, train, evaluate, export, infer."""

import deepfake_detector  # noqa: F401  (it prepares the environment before a stage loads torch)
