"""One adapter for each corpus: its files and lists become rows of a labels CSV."""

from deepfake_detector.corpora.adapters import celebdf, deeperforensics, dfdc, faceforensics, folder

ADAPTERS = {module.NAME: module for module in (faceforensics, celebdf, dfdc, deeperforensics, folder)}
