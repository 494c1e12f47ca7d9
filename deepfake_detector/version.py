"""The version of the project, for pyproject.toml, --version and the detectors that training writes."""

VERSION = "0.9.0"
