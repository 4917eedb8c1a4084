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


def parse_annotator_classes(texts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """``("anna=tumour", "bob=tumour,oedema")`` to names of classes per annotator.

    Raises:
        ConfigError: Not of that form, or a name twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        classes = tuple(part.strip() for part in listed.split(","))
        if not name or not all(classes) or len(set(classes)) < len(classes):
            raise ConfigError(
                f"--annotator-classes {text} found, ANNOTATOR=CLASS or ANNOTATOR=CLASS,CLASS with each class once "
                "expected, as in anna=tumour."
            )
        if name in found:
            raise ConfigError(f"--annotator-classes {name} found twice, once expected. Join them: {name}=CLASS,CLASS.")
        found[name] = classes
    return found


def parse_class_names(texts: tuple[str, ...]) -> dict[str, tuple[str, ...]] | None:
    """``("background=BODY", "mass=GTV,GTV-1")`` to names per class; a class alone means its own name; None for none.

    Raises:
        ConfigError: No name, a class or a name twice, or nothing but the background.
    """
    names: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for text in texts:
        name, equals, listed = text.partition("=")
        found = tuple(part.strip() for part in (listed if equals else name).split(","))
        again = name in names or taken & {part.casefold() for part in found}
        if not name or not all(found) or again:
            raise ConfigError(f"--classes {text} found, NAME=LABEL,LABEL with each name once expected, as in mass=GTV.")
        names[name] = found
        taken |= {part.casefold() for part in found}
    if names and set(names) == {"background"}:
        raise ConfigError("--classes with the background alone found, one more class at least expected. Add mass=GTV.")
    return names or None
