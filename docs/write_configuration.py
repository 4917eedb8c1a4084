"""Writes docs/reference/configuration.md from the code. The tests compare the two."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from umanet.cli.overrides import _field_docs
from umanet.config import PRESETS, PRESETS_3D, Options, RunConfig, build_config

PAGE = Path(__file__).parent / "reference" / "configuration.md"
INTRODUCTION = """# Configuration

What decides a training run. A preset comes first, then a TOML file (`--config`), then flags: the key `uma_net.target`
is `--uma-net.target soft` on the command line, and in the file

```toml
preset = "small"

[uma_net]
target = "soft"
```

Unknown keys and values out of range are errors. `run.toml` in every run folder holds all values that were used. Nothing
else configures anything: no environment variables. This page is written by `docs/write_configuration.py`.
"""


def page() -> str:
    """The page, as the code says."""
    in_2d = _presets(PRESETS, lambda preset: build_config({"preset": preset}, 2))
    in_3d = _presets(PRESETS_3D, lambda preset: build_config({"preset": preset}, 3))
    lines = [
        INTRODUCTION,
        "## Presets",
        "",
        *in_2d,
        "",
        "What is different in 3D:",
        "",
        *in_3d,
        *_section(RunConfig, ""),
    ]
    return "\n".join(lines) + "\n"


def _presets(presets: Any, build: Callable[[str], RunConfig]) -> Iterator[str]:
    """A row for every setting that a preset of ``presets`` makes."""
    yield "| setting | " + " | ".join(f"`{name}`" for name in presets) + " |"
    yield "|---|" + "---|" * len(presets)
    keys = [(section, key) for preset in presets.values() for section, values in preset.items() for key in values]
    for section, key in sorted(set(keys)):
        values = [_text(getattr(getattr(build(name), section), key)) for name in presets]
        yield f"| `{section}.{key}` | " + " | ".join(values) + " |"


def _section(options: type[Options], prefix: str) -> Iterator[str]:
    """A heading and a table for a class of options, then those of the classes that it holds."""
    about, documented, nested = " ".join((options.__doc__ or "").split()), _field_docs(options), []
    heading = f"`{prefix[:-1]}`" if prefix else "The run"
    yield from ["", f"## {heading}", "", about, "", "| key | default | means |", "|---|---|---|"]
    for name, field in options.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Options):
            nested.append((kind, f"{prefix}{name}."))
            continue
        choices = " ".join(f"`{choice}`" for choice in get_args(kind)) if get_origin(kind) is Literal else ""
        meaning = " ".join(part for part in (documented.get(name, ""), choices) if part)
        yield f"| `{prefix}{name}` | {_text(field.get_default())} | {meaning} |"
    for kind, below in nested:
        yield from _section(kind, below)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value).lower()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
