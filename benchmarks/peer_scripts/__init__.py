"""What people use today, each a script of its own that names its packages: `uv run` installs them for one run."""
