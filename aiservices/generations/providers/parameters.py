"""What a request may ask for beside prompt and size, and who can honour it.

The names and types are checked where a request comes in; whether a value can be honoured depends on who makes it.
A provider declares that (`Honours`), and `check` rejects the others before anything is held.
"""

from collections.abc import Collection, Mapping
from typing import Any

from waule.core.errors import UnsupportedParameter

NAMES = (
    "background",
    "moderation",
    "negative_prompt",
    "output_compression",
    "output_format",
    "quality",
    "seed",
    "style",
    "user",
)

# What some provider does by itself where nothing is said: accepted for every model, and sent only to who knows the word.
DEFAULTS: Mapping[str, frozenset[Any]] = {
    "background": frozenset({"", "auto", "opaque"}),
    "moderation": frozenset({"", "auto"}),
    "negative_prompt": frozenset({""}),
    "output_compression": frozenset({100}),
    "output_format": frozenset({"", "auto", "png"}),
    "quality": frozenset({"", "auto", "standard"}),
    "style": frozenset({"", "auto", "vivid"}),
}

# The values of each parameter that can be honoured; None: every value.
Honours = Mapping[str, Collection[Any] | None]
ALL: Honours = dict.fromkeys(NAMES)


def of_model(honours: Honours, options: Mapping[str, Any]) -> Honours:
    """Return what one model can be asked for: as its provider declares, or as its option `parameters` says.

    The option names values for each parameter, or null for every value; so an operator tells what a gateway passes on, or
    sells no quality that costs more than the model's price.
    """
    own = options.get("parameters")
    if not isinstance(own, Mapping):
        return honours
    named = {name: values for name, values in own.items() if name in NAMES and (values is None or isinstance(values, list))}
    return {**honours, **named}


def is_default(name: str, value: Any) -> bool:
    """Return whether this asks for nothing that a provider would not do anyway. `user` names a customer, and asks for nothing."""
    return name == "user" or value is None or _plain(value) in DEFAULTS.get(name, ())


def is_honoured(name: str, value: Any, honours: Honours) -> bool:
    """Return whether a provider that honours these can be asked for this value."""
    if name not in honours:
        return False
    values = honours[name]
    return values is None or _plain(value) in values


def honoured(parameters: Mapping[str, Any], honours: Honours) -> dict[str, Any]:
    """Return the parameters that a provider that honours these is sent."""
    return {name: value for name, value in parameters.items() if value not in (None, "") and is_honoured(name, value, honours)}


def check(parameters: Mapping[str, Any], honours: Honours, options: Mapping[str, Any]) -> None:
    """Raise UnsupportedParameter for the first parameter that asks for what this model cannot be asked for."""
    honours = of_model(honours, options)
    for name, value in sorted(parameters.items()):
        if not is_default(name, value) and not is_honoured(name, value, honours):
            raise UnsupportedParameter(name, value)


def _plain(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value
