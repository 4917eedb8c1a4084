"""What the output folder of a benchmark was made with: results of another suite or of other code are never mixed."""

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from umanet.benchmark.digest import code_digest, method_digest
from umanet.benchmark.row import ROW
from umanet.benchmark.suite import Suite
from umanet.errors import ConfigError
from umanet.method_options import EnsembleOptions

DATA, ROWS, STATE, LOCK = "data", "rows", "suite.json", ".lock"
LIBRARIES = ("lightning", "monai", "numpy", "torch")
"""What all results depend on, beside the code of the package."""
DIGEST = re.compile("[0-9a-f]{64}")
MISSING = object()
MADE_ON, UNKNOWN = "made on", "a machine that was not written down"


def read_json(path: Path) -> Any:
    """What a benchmark has written.

    Raises:
        ConfigError: It is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"{path} is damaged ({error}), JSON as a benchmark writes it expected. Put it back from a copy; the folder "
            "of a row may be removed, and the row done again."
        ) from None


def require_a_benchmark(output: Path) -> None:
    """Refuse a folder that holds something else.

    Raises:
        ConfigError: As said.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"A file found at {output}, a folder expected. Choose another --output.")
    if not output.exists() or (output / STATE).exists():
        return
    if any((output / ROWS).glob("*")):
        raise ConfigError(
            f"Rows without their {STATE} found in {output}: nothing says which code made them. Choose another "
            f"--output, or put {STATE} back."
        )
    if any(path.name != LOCK for path in output.iterdir()):
        raise ConfigError(
            f"Files, but no {STATE}, found in {output}; the folder of a benchmark, or a new or empty one, expected. "
            "Choose another --output."
        )


def made_on(output: Path) -> list[str]:
    """The machines that a benchmark's rows were made on."""
    return read_json(output / STATE).get(MADE_ON, [UNKNOWN])


def require_same(suite: Suite, output: Path) -> dict[str, Any]:
    """Refuse results of another suite or other code; returns what is to be written down of both.

    A suite may grow: further seeds, methods, variants, scenarios, metrics, data, learning rates and time change no row
    that is done. What was written down binds as far as something was made of it.

    Raises:
        ConfigError: As said.
    """
    path = output / STATE
    parts = {
        "code of": {name: method_digest(name) for name in sorted(suite.taught)},
        "version of": {name: version(name) for name in LIBRARIES},
        "data": {one.name: one.model_dump(mode="json", exclude={"scenarios", "metrics"}) for one in suite.data},
    }
    state = {"code": code_digest(), "name": suite.name, "config": dict(suite.config), **parts, MADE_ON: []}
    state = json.loads(json.dumps(state))
    whole = {path.parents[1].name for path in (output / DATA).glob("*/*/dataset.json")}
    made = whole | {folder.name for folder in (output / ROWS).glob("*")}
    require_a_benchmark(output)
    if not made or not path.exists():
        return state
    before = read_json(path)
    bound = {"code of": _taught_in(output), "version of": {*LIBRARIES}, "data": made}
    other = [
        f"another {key} ({_difference(before.get(key), state[key])})"
        for key in ("code", "name", "config")
        if before.get(key) != state[key]
    ]
    for key, names in bound.items():
        known = before.get(key, {})
        other += [
            f"another {key} {name} ({_difference(known[name], value)})" if name in known else f"an unknown {key} {name}"
            for name, value in state[key].items()
            if name in names and known.get(name) != value
        ]
        state[key] = {name: value for name, value in known.items() if name in names} | state[key]
    if other:
        raise ConfigError(
            f"Results with {other[0]} found in {output}, the same expected: results of two are never mixed. Choose "
            "another --output, or go back to what made them."
        )
    return state | {MADE_ON: made_on(output)}


def _difference(before: object, now: object, where: str = "") -> str:
    """The first place where two values differ, and how."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        key = next(key for key in {**now, **before} if before.get(key, MISSING) != now.get(key, MISSING))
        return _difference(before.get(key), now.get(key), f"{where}.{key}" if where else str(key))
    short = [one[:12] if isinstance(one, str) and DIGEST.fullmatch(one) else json.dumps(one) for one in (before, now)]
    return f"{where}{': ' if where else ''}{short[0]} there, {short[1]} here"


def _taught_in(output: Path) -> set[str]:
    """The methods of its rows. Of others nothing was made: who removes the rows of a method may do them again."""
    names: set[str] = set()
    for path in (output / ROWS).rglob(ROW):
        row = read_json(path)
        names |= {row["method"], row.get("consensus_of") or row["method"]}
        if row["method"] == "ensemble":
            names.add(EnsembleOptions.model_validate(row["config"].get("ensemble", {})).of)
    return names
