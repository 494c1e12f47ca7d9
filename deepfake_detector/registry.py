"""Registries: names that users choose, and the code behind them, imported when it is needed."""

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any


def lookup(registry: Mapping[str, str], name: str) -> Any:
    """The object of `name` in a registry of "module:object" strings.

    Raises KeyError with the known names for another one.
    """
    if name not in registry:
        raise KeyError(f"{name!r} is not known; known are {', '.join(registry)}")
    return resolve_name(registry[name])
