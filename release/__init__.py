"""How the released detector was made: a small DVC pipeline on the same library. See release/README.md."""
