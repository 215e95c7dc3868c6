"""Charts, as Unfold's components draw them: JSON in an attribute, colours of the theme."""

import json
from collections.abc import Sequence

PRIMARY = "var(--color-primary-600)"
GOOD, BAD, MUTED = "#22c55e", "#ef4444", "#94a3b8"


def line_chart(labels: Sequence[str], *lines: tuple[str, str, Sequence[float | None]]) -> str:
    """Lines over days, each (title, colour, values); a day without a value is a gap."""
    drawn = [
        {"label": title, "data": list(values), "borderColor": colour, "displayYAxis": True, "maxTicksXLimit": 10}
        for title, colour, values in lines
    ]
    return json.dumps({"labels": list(labels), "datasets": drawn})


def bar_chart(labels: Sequence[str], *stacks: tuple[str, str, Sequence[float | None]]) -> str:
    """Bars over days; of several (title, colour, values) each stands on the one before."""
    bars = [
        {
            "label": title,
            "data": list(values),
            "backgroundColor": colour,
            "borderRadius": 4 if len(stacks) == 1 else 0,
            "maxBarThickness": 36,
            "displayYAxis": True,
            **({"stack": "all"} if len(stacks) > 1 else {}),
        }
        for title, colour, values in stacks
    ]
    return json.dumps({"labels": list(labels), "datasets": bars})
