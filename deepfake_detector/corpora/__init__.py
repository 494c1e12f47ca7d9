"""Corpora: the labels CSV, links between videos, splits without leaks, and the sample corpus."""

LINK_KINDS = ("person", "donor", "original", "upload", "near_duplicate", "embedding")  # see identity_graph.links
PARTITIONS = ("train", "val", "test")  # the partitions that a split keeps apart; a video may also be "excluded"
