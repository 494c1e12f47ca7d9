"""YAML without its traps: no aliases, which may expand without end; no key that is given twice; no dates."""

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1_000_000
MAX_DEPTH = 20  # lists and mappings within each other


class StrictYAMLError(Exception):
    """The file is not plain YAML; the message says what is wrong, and in which line."""


class _Loader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(
                problem=f"*{event.anchor} is an alias; write the value", problem_mark=event.start_mark
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels", problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in lines:
                first = lines[key.value]
                problem = f"{key.value} is given twice, first in line {first}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[str(key.value)] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
_Loader.yaml_constructors = {
    tag: construct
    for tag, construct in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _PLAIN
}
_Loader.yaml_constructors["tag:yaml.org,2002:timestamp"] = yaml.SafeLoader.construct_yaml_str


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises StrictYAMLError, or OSError where the file cannot be read."""
    if path.exists() and not path.is_file():
        raise StrictYAMLError("it is no regular file")
    if path.stat().st_size > MAX_BYTES:
        raise StrictYAMLError(f"it has more than {MAX_BYTES:,} bytes")
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise StrictYAMLError(f"line {line} is not UTF-8 text; save the file as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise StrictYAMLError(f"{where}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of 5,000 digits
        raise StrictYAMLError(" ".join(str(error).split())) from error
