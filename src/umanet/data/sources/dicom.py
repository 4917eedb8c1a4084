"""DICOM: image series and, per annotator, segmentations (SEG) or structure sets (RTSTRUCT) of them.

``ROOT/PATIENT/...``, any depth below, with or without file suffixes. Series are found by what the files say, a patient
is a folder below the root. Names of patients, cases and annotators come from folders and files, never from tags: these
hold names and dates of people. Annotations are converted to label maps on the grid of their series.

Reference:
    Herz et al.: dcmqi: An Open Source Library for Standardized Communication of Quantitative Image Analysis Results
    Using DICOM. Cancer Research 77(21), 2017. DOI 10.1158/0008-5472.CAN-17-0336
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from umanet.data.dicom import read_series
from umanet.data.dicom_annotations import FRACTION, Region, read_regions
from umanet.data.images import file_name, write_labels
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.sources.dicom_tree import Drawing, Series, annotator_of, read_tree, series_of
from umanet.data.sources.folder import channel_names
from umanet.data.sources.names import safe_name
from umanet.data.sources.raw_folder import Unusable, raw_folder, require_cases
from umanet.errors import AnnotationError, DatasetError, GeometryError, counted
from umanet.types import Case

HOLDS = "a folder per patient with DICOM image series, and SEG or RTSTRUCT objects of them"
BACKGROUND = "background"
Progress = Callable[[int, int], None]
log = logging.getLogger("umanet")


@dataclass(frozen=True)
class _Classes:
    """The classes, and which of them a segment's label or ROI's name means, in small letters; 0: the background."""

    definitions: tuple[ClassDefinition, ...]
    of_name: Mapping[str, int]


@dataclass(frozen=True)
class _Kind:
    """What the images of a data set have in common."""

    spatial_dims: int
    channels: int


def index(
    root: Path,
    *,
    files: Path,
    classes: Mapping[str, Sequence[str]] | None = None,
    annotator_pattern: str | None = None,
    leave_out: bool = False,
    progress: Progress | None = None,
) -> DatasetIndex:
    """Index the tree, a case per annotated series, and convert the annotations.

    Args:
        root: Holds a folder per patient.
        files: A folder to make, for the label maps.
        classes: Class to the segment labels and ROI names that mean it, whatever their case; those of ``background``
            count for nothing. Default: a class per name. Of overlapping classes the last one wins.
        annotator_pattern: As ``dicom_tree.annotator_of`` takes it.
        leave_out: Go on without what cannot be used.
        progress: Called with files, then with cases.

    Raises:
        DatasetError: Nothing to index, or something cannot be used; all of it is in the log.
    """
    root = raw_folder(root, HOLDS)
    unusable = Unusable(leave_out=leave_out)
    series, drawings = read_tree(root, unusable, progress)
    require_cases(series, root, HOLDS)
    drawn = _by_series(series, drawings, annotator_of(drawings, root, annotator_pattern), unusable)
    if not drawings and not classes:
        raise DatasetError(
            f"No SEG and no RTSTRUCT found in {root}, one per annotator expected. For new images that nobody annotated "
            "give --classes, those of the model."
        )
    table = _table(drawings, classes)
    _say_undrawn(drawn, table)
    used = [one for one in series if one in drawn or not drawings]
    if len(used) < len(series):
        log.warning("%s of %d left out: nobody annotated them.", len(series) - len(used), len(series))
    cases, kinds = [], []
    for number, (name, one) in enumerate(_named(used), start=1):
        with unusable.collected(name):
            kind, case = _case(name, one, drawn.get(one, {}), table, files, unusable)
            _check_kind(kind, kinds)
            cases.append(case)
        if progress:
            progress(number, len(used))
    unusable.settle()
    require_cases(cases, root, HOLDS)
    return DatasetIndex(
        name=safe_name(root.name),
        spatial_dims=2 if kinds[0].spatial_dims == 2 else 3,
        channels=channel_names(kinds[0].channels, {one.modality for one in used}),
        classes=table.definitions,
        annotators=tuple(sorted({name for case in cases for name in case.annotations})),
        cases=tuple(cases),
    )


def _by_series(
    series: Sequence[Series], drawings: Iterable[Drawing], annotator: Callable[[Drawing], str], unusable: Unusable
) -> dict[Series, dict[str, list[Drawing]]]:
    """Series to annotator to objects; one annotator may have several, say one per class."""
    found: dict[Series, dict[str, list[Drawing]]] = defaultdict(lambda: defaultdict(list))
    for drawing in drawings:
        with unusable.collected(drawing.patient):
            found[series_of(drawing, series)][annotator(drawing)].append(drawing)
    fractional = sum(drawing.outline.fractional for drawing in drawings)
    if fractional:
        log.warning(
            "%s with fractions found: voxels with %g or more belong to the segment.",
            counted(fractional, "segmentation"), FRACTION,
        )  # fmt: skip
    return dict(found)


def _say_undrawn(drawn: Mapping[Series, Mapping[str, Sequence[Drawing]]], table: _Classes) -> None:
    """Which annotators never named a class: whether they looked for it, the files do not say."""
    named: dict[str, set[int]] = defaultdict(set)
    for by_annotator in drawn.values():
        for annotator, drawings in by_annotator.items():
            names = {name.casefold() for drawing in drawings for name in drawing.outline.names}
            named[annotator] |= {table.of_name.get(name, 0) for name in names}
    foreground = list(enumerate(table.definitions))[1:]
    for annotator, numbers in sorted(named.items()):
        never = [one.name for k, one in foreground if k not in numbers]
        if never:
            does = ",".join(one.name for k, one in foreground if k in numbers)
            log.warning(
                "%s never drew %s: taken for background. If that is not meant, say --annotator-classes %s=%s.",
                annotator, ", ".join(never), annotator, does or "CLASS",
            )  # fmt: skip


def _table(drawings: Iterable[Drawing], classes: Mapping[str, Sequence[str]] | None) -> _Classes:
    names: dict[str, str] = {}
    codes: dict[str, set[str | None]] = defaultdict(set)
    for drawing in drawings:
        for name, code in drawing.outline.names.items():
            names.setdefault(name.casefold(), name)
            codes[name.casefold()].add(code)
    wanted = classes or _one_each(names.values())
    foreground = [name for name in wanted if name.casefold() != BACKGROUND]
    of_name = {name.casefold(): 0 for name in wanted.get(BACKGROUND, ())}
    for k, name in enumerate(foreground, start=1):
        of_name |= {alias.casefold(): k for alias in wanted[name]}
    strange = [safe_name(names[name]) for name in names if name not in of_name]
    if names and not any(of_name.get(name) for name in names):
        raise DatasetError(
            f"Segments and ROIs with the names {', '.join(sorted(strange)[:10])} found, none of them in a class. Name "
            "them with --classes, as in mass=GTV,GTV-1."
        )
    if strange:
        log.warning("In no class, so background: %s. To use them name them in --classes.", ", ".join(sorted(strange)))
    definitions = [ClassDefinition(name=BACKGROUND, values=(0,))]
    for k, name in enumerate(foreground, start=1):
        found = set().union(*(codes[alias] for alias, number in of_name.items() if number == k and alias in codes))
        found.discard(None)  # structure sets have no codes
        definitions.append(ClassDefinition(name=name, values=(k,), code=found.pop() if len(found) == 1 else None))
    return _Classes(tuple(definitions), of_name)


def _one_each(names: Iterable[str]) -> dict[str, list[str]]:
    """Names that are the same once they are safe for files are one class."""
    found: dict[str, list[str]] = defaultdict(list)
    spelled: dict[str, str] = {}
    for name in sorted(names):
        safe = safe_name(name)
        found[spelled.setdefault(safe.casefold(), safe)].append(name)
    return dict(found)


def _named(series: Sequence[Series]) -> list[tuple[str, Series]]:
    """Case names: the patient; of several series with the folder of the series, or else its number, behind it."""
    result = []
    for patient in dict.fromkeys(one.patient for one in series):
        own = [one for one in series if one.patient == patient]
        folders = {one.folder.name for one in own}
        by_folder = len(folders) == len(own)
        for number, one in enumerate(own, start=1):
            tail = "" if len(own) == 1 else f"_{one.folder.name if by_folder else number}"
            result.append((safe_name(patient + tail), one))
    return result


def _check_kind(kind: _Kind, kinds: list[_Kind]) -> None:
    kinds.append(kind)
    if kind != kinds[0]:
        raise GeometryError(
            f"A {kind.spatial_dims}D image of {counted(kind.channels, 'channel')} found, {kinds[0].spatial_dims}D of "
            f"{kinds[0].channels} as the first case expected. Import them as separate data sets."
        )


def _case(
    name: str, series: Series, drawn: Mapping[str, list[Drawing]], table: _Classes, files: Path, unusable: Unusable
) -> tuple[_Kind, Case]:
    image, geometry = read_series(series.image)
    annotations = {}
    for annotator, drawings in sorted(drawn.items()):
        what = f"{name}, {annotator}"
        with unusable.collected(what):
            regions = [region for drawing in drawings for region in read_regions(drawing.path, geometry, series.frame)]
            for region in regions:
                if region.open_contours and table.of_name.get(region.name.casefold()) != 0:
                    unusable.add(
                        what,
                        f"{counted(region.open_contours, 'contour')} of {safe_name(region.name)!r} found that enclose "
                        "nothing (points or open lines), closed ones expected: left out.",
                    )
            labels = _labels(regions, table, what, geometry.shape)
            path = files / "annotations" / annotator / file_name(name, geometry)
            write_labels(path, labels, geometry, table.definitions)
            annotations[annotator] = path
    if drawn and not annotations:
        raise AnnotationError(f"None of its annotations is usable, one expected, in {series.folder}. Mend one of them.")
    return _Kind(len(geometry.shape), len(image)), Case(
        name, (series.image,), annotations, patient=safe_name(series.patient)
    )


def _labels(
    regions: Iterable[Region], table: _Classes, what: str, shape: tuple[int, ...]
) -> UInt8[np.ndarray, "*spatial"]:
    """Of overlapping classes the last one wins, and that is said."""
    masks = np.zeros((len(table.definitions), *shape), bool)
    for region in regions:
        masks[table.of_name.get(region.name.casefold(), 0)] |= region.mask
    overlap = int((masks[1:].sum(0) > 1).sum())
    if overlap:
        log.warning("%s: %s in several classes: the last class wins.", what, counted(overlap, "voxel"))
    labels = np.zeros(shape, np.uint8)
    for k in range(1, len(masks)):
        labels[masks[k]] = k
    return labels
