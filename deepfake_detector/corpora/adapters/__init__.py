"""Adapters: each turns the files and lists of one corpus into rows of a labels CSV.

An adapter is a module with TITLE, a few words for --help, and `read(root, **options) -> Listing`, which raises
CorpusError. A new one needs its file and a line below.
"""

from deepfake_detector.corpora.adapters import celebdf, deeperforensics, dfdc, faceforensics, folder, table

ADAPTERS = {
    "faceforensics": faceforensics,
    "celebdf": celebdf,
    "dfdc": dfdc,
    "deeperforensics": deeperforensics,
    "folder": folder,
    "csv": table,
}
