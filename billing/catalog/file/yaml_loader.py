"""YAML as this house takes it: the JSON-like core of YAML 1.2, without aliases, tags or a key that is there twice.

`16:9`, `on`, `no` and dates are text, not numbers, booleans and dates; only `true`, `false` and `null` are words.
"""

import re
from typing import Any

import yaml
from django.utils.translation import gettext as _
from yaml.nodes import MappingNode, Node, ScalarNode

from waule.core.errors import InvalidRequest

MAX_DEPTH = 32


class _Loader(yaml.SafeLoader):
    """A loader that knows the core types and refuses what could mean two things."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            raise InvalidRequest(_("Line %(line)s: aliases are not taken here.") % {"line": self._line()})
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise InvalidRequest(_("The file is nested too deeply (more than 32 levels)."))
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _line(self) -> int:
        return int(self.get_mark().line) + 1

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise InvalidRequest(_("Line %(line)s: a key must be text.") % {"line": line})
            if key.value in seen:
                raise InvalidRequest(_("Line %(line)s: %(key)s is there twice.") % {"line": line, "key": key.value})
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def add_core_types(cls: Any) -> None:
    """Make a loader read, or a dumper quote, what spells a boolean, null, integer or float."""
    for tag, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
        ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
        ("int", r"[-+]?[0-9]+", [*"-+0123456789"]),
        ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", [*"-+.0123456789"]),
    ):
        cls.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), first)


def _integer(loader: _Loader, node: ScalarNode) -> int:
    if len(node.value) > 20:
        raise InvalidRequest(_("Line %(line)s: this integer is too large.") % {"line": node.start_mark.line + 1})
    return int(node.value)  # decimal: 010 is ten, as it is written


add_core_types(_Loader)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def load_yaml(text: str) -> Any:
    """Return the one document in `text`.

    Raises:
        InvalidRequest: not YAML, or YAML that means more than it says.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader that takes less)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or str(error).partition("\n")[0]
        line = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise InvalidRequest(_("The file is not valid YAML: %(why)s") % {"why": f"{why}{line}"}) from None
    except ValueError as error:
        raise InvalidRequest(_("The file is not valid YAML: %(why)s") % {"why": error}) from None
