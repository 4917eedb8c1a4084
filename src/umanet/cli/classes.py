from typing import TYPE_CHECKING

from umanet.errors import ConfigError

if TYPE_CHECKING:
    from umanet.data.index import ClassDefinition


def parse_classes(texts: tuple[str, ...]) -> "list[ClassDefinition] | None":
    """``("background=0", "lesion=1,255")`` to definitions; None for none.

    Raises:
        ConfigError: Not of that form.
    """
    from umanet.data.index import ClassDefinition

    definitions = []
    for text in texts:
        name, _, values = text.partition("=")
        try:
            definitions.append(ClassDefinition(name=name, values=tuple(int(value) for value in values.split(","))))
        except ValueError:
            raise ConfigError(
                f"--classes {text} found, NAME=VALUE or NAME=VALUE,VALUE expected, as in lesion=1,255."
            ) from None
    return definitions or None
