"""Flags for every option of the configuration, of which only those that a user sets are kept."""

import ast
import inspect
from inspect import cleandoc
from itertools import pairwise
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, Union, get_args, get_origin

import tyro

from umanet.config import PRESETS, PRESETS_3D, Options, RunConfig

# A TypedDict whose keys may all be absent: tyro leaves out what was not given, so what it returns is exactly what
# the user set, as the nested mapping that build_config takes. No default is ever mistaken for a wish.


def flags_for(options: type[Options], above: tuple[str, ...] = ()) -> Any:
    """A type that tyro turns into a flag per field of ``options``, nested as they are, with their documentation."""
    documented = _field_docs(options)
    fields = {}
    for name, field in options.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Options):
            fields[name] = Annotated[flags_for(kind, (*above, name)), tyro.conf.arg(help=cleandoc(kind.__doc__ or ""))]
        else:
            hint = _hint((*above, name), field.get_default())
            about = tyro.conf.arg(help=documented.get(name, ""), help_behavior_hint=hint)
            fields[name] = Annotated[_without_none(kind), about]
    return TypedDict(options.__name__, fields, total=False)  # type: ignore[misc]  # made while running


def _field_docs(options: type[Options]) -> dict[str, str]:
    """The string below each field, which Python itself throws away."""
    body = ast.parse(inspect.getsource(options)).body[0].body  # type: ignore[attr-defined]  # the class
    return {
        field.target.id: " ".join(str(text.value.value).replace("``", "`").split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def _hint(path: tuple[str, ...], default: Any) -> str:
    if any(_sets(values, path) for values in (*PRESETS.values(), *PRESETS_3D.values())):
        return "(default: the preset's)"
    if default is None or default == ():
        return "(default: none)" if default == () else "(optional)"
    return f"(default: {str(default).lower() if isinstance(default, bool) else default})"


def _sets(values: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def _without_none(kind: Any) -> Any:
    """The type without None: not giving a flag says that already."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    return Union[tuple(part for part in get_args(kind) if part is not NoneType)]  # noqa: UP007  # of a tuple


if TYPE_CHECKING:
    ConfigFlags = dict[str, Any]
else:
    ConfigFlags = flags_for(RunConfig)
