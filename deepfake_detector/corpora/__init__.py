"""What a corpus is: the labels CSV, the identity graph, splits without leaks, and the sample corpus."""

LINK_KINDS = ("person", "donor", "original", "upload", "near_duplicate", "embedding")  # see identity_graph.links
