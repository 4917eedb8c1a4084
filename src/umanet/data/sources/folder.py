"""Plain folders: ``images/<case>.png``, ``annotations/<annotator>/<case>.png``, maybe ``truth/<case>.png``."""

import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from umanet.data.formats import listed, stem_of
from umanet.data.images import read_annotation_values
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.sources.names import safe_name
from umanet.data.sources.raw_folder import first_image, raw_folder
from umanet.data.splits import split_index
from umanet.errors import DatasetError, UmanetError, counted
from umanet.types import Case

MOST_CLASSES = 20
"""More distinct values in annotations than this are grey levels or interpolation, not classes."""

MOST_NAMED = 10
"""Files of a kind of fault that a message names; the others it counts."""

WHOLE_NUMBERS = (
    f"at most {MOST_CLASSES} whole numbers expected. Threshold probabilities or grey levels first, or give --classes."
)

CHANNEL = r"(?P<case>.+)_(?P<channel>\d{4})"
"""nnU-Net's names of the channels of a case."""

log = logging.getLogger("umanet")

Files = Mapping[str, Sequence[Path]]


def index(
    root: Path,
    *,
    images: str = "images",
    annotations: str = "annotations",
    truth: str = "truth",
    more_annotators: Mapping[str, Path] | None = None,
    image_pattern: str | None = None,
    annotation_pattern: str | None = None,
    patient_pattern: str | None = None,
    classes: Sequence[ClassDefinition] | None = None,
    annotators_are_identified: bool = True,
    ignore: Sequence[int] = (),
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    name: str | None = None,
) -> DatasetIndex:
    """Index a folder of images and one of annotations per annotator. An absent file is an absent annotation.

    Args:
        root: Holds the folders that the next three name.
        images: One file per case, or one per channel, ``<case>_0000.png``, ``<case>_0001.png`` and so on.
        annotations: A folder per annotator; may be absent where there is a truth, or where classes are given: then
            these are new images, without splits.
        truth: Files named as annotations; may be absent.
        more_annotators: Further annotators, each with the folder of their files, which may lie anywhere.
        image_pattern: Regular expression that file names without type match in full, with a group ``case`` and
            perhaps a group ``channel``. Default: the whole name, or nnU-Net's channels where every name is so.
        annotation_pattern: The same for annotations and truth, with a group ``case``.
        patient_pattern: Regular expression found in case names, whose group ``patient`` (or else the match) names
            the patient. Default: every case is a patient of its own.
        classes: Default: one per value found in the annotations. Values that no annotation has are warned of.
        annotators_are_identified: False where a folder's name is not one person across cases.
        ignore: File values of voxels of which an annotation says nothing.
        fractions: Shares of the patients per split; None makes no splits.
        seed: Of the splits.
        name: Of the data set; default: the name of ``root``.

    Raises:
        DatasetError: Folders or files are missing, match no image, or give the same case twice; or no annotation
            has any value of the foreground classes that are given.
        ImageError: No image can be read.
    """
    root = raw_folder(root, f"{images}/CASE.png and {annotations}/ANNOTATOR/CASE.png, or other file types,")
    drawn = _annotations(root / annotations, annotation_pattern)
    drawn |= _more(more_annotators or {}, drawn, annotation_pattern)
    known = _one_each(root / truth, annotation_pattern) if (root / truth).is_dir() else {}
    if not drawn and not known and not classes:
        raise DatasetError(
            f"Neither {annotations}/<annotator>/ nor {truth}/ with files found in {root}, one of them expected. Lay "
            "the files out so, or name your folders with --annotations and --truth. For new images that nobody "
            "annotated give --classes, those of the model."
        )
    annotated = set(known).union(*drawn.values())
    channels = _images(root / images, image_pattern, annotated)
    for files in (known, *drawn.values()):
        _refuse_strays(files, channels)
    cases = [
        Case(
            id=case,
            image=tuple(files),
            annotations={annotator: found[case] for annotator, found in drawn.items() if case in found},
            truth=known.get(case),
            patient=patient_of(case, patient_pattern),
        )
        for case, files in sorted(channels.items())
    ]
    image, geometry = first_image(cases)
    spatial_dims = len(geometry.shape)
    paths = [path for files in (*drawn.values(), known) for path in files.values()]
    if classes:
        _compare_with_drawn(classes, paths, spatial_dims, ignore)
    result = DatasetIndex(
        name=name or root.name,
        spatial_dims=2 if spatial_dims == 2 else 3,
        channels=channel_names(len(image)),
        classes=tuple(classes or discover_classes(paths, spatial_dims, ignore)),
        annotators=tuple(drawn),
        annotators_are_identified=annotators_are_identified,
        ignore=tuple(ignore),
        cases=tuple(cases),
    )
    new = not drawn and not known
    return result if new or fractions is None else split_index(result, fractions, seed)


def discover_classes(
    paths: Iterable[Path], spatial_dims: int, ignore: Sequence[int] = ()
) -> tuple[ClassDefinition, ...]:
    """Classes for the values that occur in annotation files, in ascending order: ``class_<value>``.

    Values in ``ignore`` are none.

    Where the only value besides 0 is 1 or 255, or 1 in some files and 255 in others, it is ``foreground``.

    Raises:
        DatasetError: Files that cannot be read or hold what is no class (a fraction, a negative value, NaN, more
            than ``MOST_CLASSES`` values), all of them counted and ``MOST_NAMED`` named; no value but 0.
    """
    held, unreadable = _values_of(paths, spatial_dims, ignore)
    odd = {path: found for path, values in held.items() if (found := _odd(values))}
    values = {0.0}.union(*(values for path, values in held.items() if path not in odd))
    if unreadable or odd:
        raise DatasetError(_unusable(list(unreadable.values()), odd, len(held) + len(unreadable)))
    if len(values) > MOST_CLASSES:
        raise DatasetError(f"{len(values)} distinct values found in all annotations together, {WHOLE_NUMBERS}")
    foreground = [int(value) for value in sorted(values - {0})]
    if not foreground:
        raise DatasetError("Only the value 0 found in all annotations, at least one class expected. Give --classes.")
    background = ClassDefinition(name="background", values=(0,))
    if set(foreground) <= {1, 255} and not any({1, 255} <= values for values in held.values()):
        return background, ClassDefinition(name="foreground", values=tuple(foreground))
    return background, *(ClassDefinition(name=f"class_{value}", values=(value,)) for value in foreground)


def _compare_with_drawn(
    classes: Sequence[ClassDefinition], paths: Iterable[Path], spatial_dims: int, ignore: Sequence[int]
) -> None:
    """A warning for some; files that cannot be read are left to ``umanet check``, as values without a class are.

    Raises:
        DatasetError: None of the values of the foreground classes occurs, but others do.
    """
    held, _ = _values_of(paths, spatial_dims, ignore)
    values = set().union(*held.values())
    named = {value: definition.name for definition in classes[1:] for value in definition.values}
    unused = [value for value in named if value not in values]
    if not held or not unused:
        return
    missing = ", ".join(f"{value} ({named[value]})" for value in unused)
    found = f"Of the values of the classes no annotation has {missing}; these hold {_some_values(values)}"
    if len(unused) == len(named) and values - {0}:
        raise DatasetError(f"{found}, at least one of the values expected. Name those that the files hold, --classes.")
    log.warning("%s. If that is a slip, mend --classes.", found)


def _some_values(values: set[float]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(values)[:MOST_NAMED]) + (
        " ..." if len(values) > MOST_NAMED else ""
    )


def _values_of(
    paths: Iterable[Path], spatial_dims: int, ignore: Sequence[int]
) -> tuple[dict[Path, set[float]], dict[Path, str]]:
    """What each file holds but what is ignored, and why others cannot be read."""
    held: dict[Path, set[float]] = {}
    unreadable: dict[Path, str] = {}
    for path in paths:
        try:
            values = np.unique(read_annotation_values(path, spatial_dims)[0]).astype(float)
            held[path] = set(values.tolist()) - set(ignore)
        except UmanetError as error:
            unreadable[path] = str(error)
    return held, unreadable


def _odd(values: set[float]) -> str:
    """What the values of a file have that no class has; empty where there is nothing."""
    odd = [value for value in sorted(values) if value < 0 or not value.is_integer()]
    if odd:
        return f"value {odd[0]:g}"
    return f"{len(values)} distinct values" if len(values) > MOST_CLASSES else ""


def _unusable(unreadable: list[str], odd: Mapping[Path, str], total: int) -> str:
    number = len(unreadable) + len(odd)
    parts = [f"{number} of {counted(total, 'annotation')} cannot be used.", *unreadable[:MOST_NAMED]]
    if odd:
        named = [f"{found} in {path}" for path, found in odd.items()][:MOST_NAMED]
        parts.append(f"Found {', '.join(named)}; {WHOLE_NUMBERS}")
    left_out = max(len(unreadable) - MOST_NAMED, 0) + max(len(odd) - MOST_NAMED, 0)
    if left_out:
        parts.append(f"And {left_out} more.")
    return " ".join(parts)


def _annotations(folder: Path, pattern: str | None) -> dict[str, dict[str, Path]]:
    if not folder.is_dir():
        return {}
    stray = [path.name for path in listed(folder) if path.is_file()]
    if stray:
        raise DatasetError(
            f"File {stray[0]} found in {folder}, one folder per annotator expected. Move it to {folder}/<annotator>/."
        )
    found = {path.name: _one_each(path, pattern) for path in listed(folder)}
    empty = [annotator for annotator, files in found.items() if not files]
    if empty:
        raise DatasetError(f"No file found in {folder / empty[0]}, annotations expected. Fill or remove the folder.")
    return found


def _more(folders: Mapping[str, Path], drawn: Mapping[str, object], pattern: str | None) -> dict[str, dict[str, Path]]:
    """Annotators whose folders lie elsewhere, in the form of ``_annotations``."""
    found: dict[str, dict[str, Path]] = {}
    for name, place in folders.items():
        folder = Path(place).absolute()
        if name in drawn:
            raise DatasetError(
                f"--annotator {name} found, but the raw data have an annotator of this name; a new name expected. "
                "Choose another."
            )
        if not folder.is_dir():
            raise DatasetError(f"No folder found at {folder}, the annotations of {name!r} expected. Check --annotator.")
        found[name] = _one_each(folder, pattern)
        if not found[name]:
            raise DatasetError(f"No file found in {folder}, annotations of {name!r} expected. Check --annotator.")
    return found


def _one_each(folder: Path, pattern: str | None) -> dict[str, Path]:
    grouped = _grouped(folder, pattern or r"(?P<case>.+)", "--annotation-pattern")
    return {case: files[0] for case, files in grouped.items()}


def _images(folder: Path, pattern: str | None, annotated: set[str]) -> dict[str, list[Path]]:
    if not folder.is_dir() or not listed(folder):
        raise DatasetError(
            f"No image found in {folder}, one per case expected. Check the folder, or name it with --images."
        )
    if pattern is None:
        stems = [stem_of(path) for path in listed(folder)]
        # A name such as image_0001 is a channel only if the annotations do not use it as it stands.
        by_channel = all(re.fullmatch(CHANNEL, stem) for stem in stems) and not annotated & set(stems)
        pattern = CHANNEL if by_channel else r"(?P<case>.+)"
    return _grouped(folder, pattern, "--image-pattern")


def _grouped(folder: Path, pattern: str, flag: str) -> dict[str, list[Path]]:
    """Case to files, in the order of their channels. ``flag`` is where a user says the pattern."""
    expression = _compiled(pattern, flag, "case")
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in listed(folder):
        match = expression.fullmatch(stem_of(path))
        if match is None:
            raise DatasetError(f"File {path} found, a name like {pattern!r} expected. Move it away or change {flag}.")
        channel = match.groupdict().get("channel") or ""
        files = found[match["case"]]
        if channel in files:
            mend = "" if stem_of(files[channel]) == stem_of(path) else f", or tell their cases apart with {flag}"
            raise DatasetError(
                f"Two files for case {match['case']!r} found, one expected: {files[channel]} and {path}. Remove "
                f"one{mend}."
            )
        files[channel] = path
    return {case: [files[channel] for channel in sorted(files)] for case, files in found.items()}


def _refuse_strays(files: Mapping[str, Path], images: Files) -> None:
    strays = sorted(set(files) - set(images))
    if strays:
        raise DatasetError(
            f"{counted(len(strays), 'annotation')} without image found in {files[strays[0]].parent}, an image each "
            f"expected: {files[strays[0]].name} (case {strays[0]!r}). Add the image, remove the file, or say which "
            "part of the name is the case with `umanet import --annotation-pattern`."
        )


def patient_of(case: str, pattern: str | None) -> str:
    """What ``pattern`` finds in a case's name; the whole name without one.

    Raises:
        DatasetError: Nothing is found, or it is no regular expression.
    """
    if pattern is None:
        return case
    match = _compiled(pattern, "--patient-pattern").search(case)
    if match is None:
        raise DatasetError(f"Case {case!r} found, a name with {pattern!r} expected. Change --patient-pattern.")
    return match.groupdict().get("patient") or match[0]


def _compiled(pattern: str, flag: str, group: str | None = None) -> re.Pattern[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"{flag} {pattern!r} found, a regular expression expected: {error}. Mend it.") from None
    if group is not None and group not in expression.groupindex:
        raise DatasetError(f"{flag} {pattern!r} found, a named group (?P<{group}>...) expected in it. Add it.")
    return expression


def channel_names(count: int, modalities: Collection[str] = ()) -> tuple[str, ...]:
    """Names for channels of which nothing is known but their number, and of what ``modalities`` the images are."""
    if count == 1:
        only = safe_name(next(iter(modalities), ""))
        return (only,) if len(modalities) == 1 and only != "_" else ("grey",)
    return ("red", "green", "blue") if count == 3 else tuple(f"channel_{number}" for number in range(count))
