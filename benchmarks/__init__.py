"""Benchmarks behind the documented figures: each module prints the table that the documentation quotes."""
