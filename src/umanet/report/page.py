"""The page: templates filled in, every name escaped, nothing fetched from anywhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from umanet.data.files import replace_file
from umanet.errors import OutputError
from umanet.report.charts import COLOURS
from umanet.report.pictures import heat_scale


def write_page(template: str, path: Path, values: Mapping[str, Any]) -> None:
    """Fill in a template of this package and write the page, all or nothing.

    Raises:
        OutputError: The file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("umanet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "interval": interval}
    environment.globals |= {"line_styles": Markup(_line_styles()), "heat_scale": Markup(heat_scale())}
    replace_file(path, environment.get_template(template).render(values).encode())


def refuse_existing(path: Path) -> None:
    """Raises: OutputError: There is something already."""
    if path.exists():
        raise OutputError(f"{path} exists already, a new file expected. Choose another --output, or remove it.")


def number(value: float | None, digits: int = 3) -> str:
    """A dash where there is no value."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def percent(value: float) -> str:
    return f"{value:.0%}"


def interval(bounds: Any) -> str:
    low, high = bounds
    return "–" if low is None else f"{low:.3f} to {high:.3f}"


def _line_styles() -> str:
    """A colour and a pattern for each of 28 annotators, on pictures: bright where lines on white are dark."""
    bright = {"#0072B2": "#56B4E9", "#56B4E9": "#FFFFFF", "#000000": "#F0E442"}
    dashes = ("none", "7 3", "2 2.5", "9 3 2 3")
    rules = []
    for name in range(len(COLOURS) * len(dashes)):
        colour = COLOURS[name % len(COLOURS)]
        dash = dashes[name % len(dashes)]
        rules.append(f".who{name} {{ stroke: {bright.get(colour, colour)}; stroke-dasharray: {dash}; }}")
    return "\n".join(rules)
