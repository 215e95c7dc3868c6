"""What is different between two catalogs, in the words and forms of the catalog file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

_SIGNS = {"added": "+", "changed": "~", "switched off": "-", "removed": "-"}
_KINDS: tuple[tuple[str, Literal["model", "rule", "level"]], ...] = (("models", "model"), ("rules", "rule"), ("levels", "level"))
_MISSING = "–"


@dataclass(frozen=True)
class Change:
    """One entry that is not as it was. `fields` are the old and the new value by name; of a new entry only the new."""

    what: Literal["added", "changed", "switched off", "removed"]
    kind: Literal["model", "rule", "level"]
    name: str
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """`+ model …`, `~ rule …` with a line for each field, `- rule …`."""
        yield f"{_SIGNS[self.what]} {self.kind} {self.name}"
        if self.what != "changed":
            return
        for name, (old, new) in self.fields.items():
            if isinstance(old, dict) and isinstance(new, dict):
                for inner, (before, after) in differences(old, new).items():
                    yield f"    {name} {inner}: {_shown(before)} → {_shown(after)}"
            else:
                yield f"    {name}: {_shown(old)} → {_shown(new)}"

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "kind": self.kind,
            "name": self.name,
            "fields": {name: {"old": old, "new": new} for name, (old, new) in self.fields.items()},
        }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the names whose values are not the same, each with its old and new value; None where it is not there."""
    names = [*new, *(name for name in old if name not in new)]
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return what became of the catalog `old` in `new`; both as a catalog file says them."""
    found: list[Change] = []
    for section, kind in _KINDS:
        before = {_name(kind, entry): _facts(entry) for entry in old.get(section, [])}
        after = {_name(kind, entry): _facts(entry) for entry in new.get(section, [])}
        for name, facts in after.items():
            fields = differences(before.get(name, {}), facts)
            if name not in before:
                found.append(Change("added", kind, name, fields))
            elif fields:
                found.append(Change("changed", kind, name, fields))
        found.extend(Change("removed", kind, name) for name in before if name not in after)
    return found


def _name(kind: str, entry: Mapping[str, Any]) -> str:
    if kind == "model":
        return f"{entry['modelId']} ({entry['provider']}, {entry['type']})"
    return " ".join(entry["scope"].values()) if kind == "rule" else str(entry["level"])


def _facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry's fields, its rows each under a name of their own."""
    facts = {name: value for name, value in entry.items() if name not in ("scope", "prices", "permissions")}
    for row in entry.get("prices", []):
        label = f"{row['dimension']} {row.get('value', '')}".strip()
        facts[f"prices[{label}]"] = {name: value for name, value in row.items() if name not in ("dimension", "value")}
    for row in entry.get("permissions", []):
        facts[f"permissions[{' '.join(row['scope'].values())}]"] = {name: row[name] for name in row if name != "scope"}
    return facts


def _shown(value: Any) -> str:
    if value is None:
        return _MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items()) or "{}"
    return str(value)
