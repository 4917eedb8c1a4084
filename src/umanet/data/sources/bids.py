"""BIDS: raw images and annotations in ``derivatives``, one file per annotator, told apart by an entity.

``sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz`` and
``derivatives/PIPELINE/sub-01/ses-a/anat/sub-01_ses-a_desc-ANNOTATOR_dseg.nii.gz``, names of labels in
``*_dseg.tsv`` (columns index and name). An annotation belongs to the image whose entities are the same wherever
both files have them: derivatives drop some (``acq-``) and add others (``space-``). The label called ``ignore`` is no
class: nothing is said of its voxels.

Reference:
    Gorgolewski et al.: The brain imaging data structure, a format for organizing and describing outputs of
    neuroimaging experiments. Scientific Data 3, 2016. DOI 10.1038/sdata.2016.44
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from umanet.data.formats import SUFFIXES
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.sources.folder import discover_classes
from umanet.data.sources.names import safe_name
from umanet.data.sources.raw_folder import Unusable, first_image, raw_folder, require_cases
from umanet.errors import DatasetError, counted
from umanet.types import Case

HOLDS = "sub-01/anat/sub-01_T1w.nii.gz and derivatives/PIPELINE/sub-01/anat/sub-01_desc-ANNOTATOR_dseg.nii.gz"
IGNORED = "ignore"
"""Name, in the tables, of labels of voxels that are to be ignored."""
NOT_RAW = ("derivatives", "sourcedata", "code")
"""Folders of a BIDS data set whose images are not its raw images."""
SEGMENTATIONS = ("dseg", "mask", "probseg")
DEFAULT = "T1w"
"""The images where there are several kinds and none is asked for."""


@dataclass(frozen=True)
class _Name:
    """A file name of BIDS, taken apart.

    Attributes:
        entities: Key and value in the order of the name.
        suffix: ``T1w``, ``dseg``; of everything that is no image or table of BIDS, empty.
    """

    path: Path
    entities: tuple[tuple[str, str], ...]
    suffix: str

    def without(self, key: str) -> dict[str, str]:
        return {name: value for name, value in self.entities if name != key}


def index(
    root: Path,
    *,
    suffixes: Sequence[str] = (),
    annotator_entity: str = "desc",
    annotations_suffix: str = "dseg",
    truth: str = "truth",
    classes: Sequence[ClassDefinition] | None = None,
    ignore: Sequence[int] = (),
    leave_out: bool = False,
) -> DatasetIndex:
    """Index a BIDS data set; a case is an image with its entities, its patient is ``sub``.

    Args:
        root: The data set, or its folder ``derivatives``, or the folder of a pipeline in it.
        suffixes: Of the images: several are channels, in this order. Default: T1w, or else the only one there is.
        annotator_entity: The entity of annotations that names who drew.
        annotations_suffix: ``dseg`` or ``mask``.
        truth: Who drew what is really there, in the same entity.
        classes: Default: by the tables ``*_dseg.tsv``; without tables one per value that the annotations hold.
        ignore: File values that say nothing of a voxel, beside those that a table calls ``ignore``.
        leave_out: Go on without images and annotations that cannot be used.

    Raises:
        DatasetError: No such images or annotations, or anything that is not usable.
        ImageError: No image can be read.
    """
    root = raw_folder(root, HOLDS)
    drawn = [name for name in _names(root, SUFFIXES) if name.suffix == annotations_suffix]
    images, suffixes = _images(root, suffixes, annotations_suffix)
    unusable = Unusable(leave_out=leave_out)
    complete = _complete(images, suffixes, unusable)
    annotations = _matched(drawn, complete, annotator_entity, unusable)
    for case in sorted(set(complete) - set(annotations)):
        unusable.add(case, f"No annotation found, *_{annotator_entity}-*_{annotations_suffix} expected, under {root}.")
    unusable.settle()
    require_cases(annotations, root, HOLDS)
    cases = tuple(
        Case(
            case, complete[case][1], {name: path for name, path in sorted(found.items()) if name != truth},
            found.get(truth), complete[case][0]["sub"],
        )
        for case, found in sorted(annotations.items())
    )  # fmt: skip
    _, geometry = first_image(cases)
    spatial_dims = 2 if len(geometry.shape) == 2 else 3
    paths = [path for found in annotations.values() for path in found.values()]
    named = _named_values(root, annotations_suffix)
    ignored = sorted({*ignore, *(value for value, name in named.items() if name == IGNORED)})
    found = classes or _without(ignored, _classes_of(named) or discover_classes(paths, spatial_dims))
    return DatasetIndex(
        name=safe_name(root.name),
        spatial_dims=spatial_dims,
        channels=tuple(suffixes),
        classes=tuple(found),
        annotators=tuple(sorted({name for case in cases for name in case.annotations})),
        ignore=tuple(ignored),
        cases=cases,
    )


def _names(root: Path, endings: Iterable[str]) -> list[_Name]:
    """The files below ``root`` that are named as BIDS has it, for a subject, with one of the endings."""
    found = []
    for path in sorted(root.rglob("*")):
        ending = next((ending for ending in endings if path.name.lower().endswith(ending)), None)
        if ending is None or not path.is_file():
            continue
        *parts, suffix = path.name[: -len(ending)].split("_")
        entities = tuple((key, value) for key, dash, value in (part.partition("-") for part in parts) if dash)
        if len(entities) == len(parts) and ("sub" in dict(entities) or ending == ".tsv"):
            found.append(_Name(path, entities, suffix))
    return found


def _images(root: Path, suffixes: Sequence[str], annotations_suffix: str) -> tuple[list[_Name], tuple[str, ...]]:
    """The images of the data set that ``root`` is or lies in, and their suffixes.

    Raises:
        DatasetError: None, or of several suffixes where none is asked for.
    """
    places = [root]
    if root.parent.name == "derivatives":
        places.append(root.parent.parent)
    elif root.name == "derivatives":
        places.append(root.parent)
    held: set[str] = set()
    for place in places:
        names = [n for n in _names(place, SUFFIXES) if not set(n.path.relative_to(place).parts[:-1]) & set(NOT_RAW)]
        names = [name for name in names if name.suffix not in (annotations_suffix, *SEGMENTATIONS)]
        wanted = tuple(suffixes or _only_suffix(names, place))
        found = [name for name in names if name.suffix in wanted]
        if found:
            return found, wanted
        held |= {name.suffix for name in names}
    if held:
        raise DatasetError(
            f"No image sub-*_{suffixes[0]} found in {places[-1]}, only {', '.join(sorted(held)[:8])}; {HOLDS} "
            "expected. Say which images with --suffix."
        )
    raise DatasetError(
        f"No image named as BIDS has it found in {places[-1]}, {HOLDS} expected. Check the path; `umanet import "
        "folder` takes files of any names."
    )


def _only_suffix(images: Iterable[_Name], root: Path) -> tuple[str, ...]:
    held = sorted({name.suffix for name in images})
    if len(held) > 1 and DEFAULT not in held:
        raise DatasetError(
            f"Images {', '.join(held[:8])} found in {root}, one of them or several as channels expected. Say which "
            f"with --suffix, as in --suffix {' '.join(held[:3])}."
        )
    return (DEFAULT,) if DEFAULT in held else tuple(held)


def _complete(
    images: Iterable[_Name], suffixes: Sequence[str], unusable: Unusable
) -> dict[str, tuple[dict[str, str], tuple[Path, ...]]]:
    """Case to its entities and its files, one per suffix."""
    grouped: dict[tuple[tuple[str, str], ...], dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for name in images:
        grouped[name.entities][name.suffix].append(name.path)
    complete = {}
    for entities, found in grouped.items():
        case = "_".join(f"{key}-{value}" for key, value in entities)
        wrong = [suffix for suffix in suffixes if len(found[suffix]) != 1]
        if wrong:
            files = ", ".join(path.name for path in found[wrong[0]]) or "No image"
            unusable.add(case, f"{files} found, one {case}_{wrong[0]} expected. Mend the files or --suffix.")
        else:
            complete[case] = dict(entities), tuple(found[suffix][0] for suffix in suffixes)
    return complete


def _matched(
    drawn: Iterable[_Name],
    images: Mapping[str, tuple[dict[str, str], tuple[Path, ...]]],
    annotator_entity: str,
    unusable: Unusable,
) -> dict[str, dict[str, Path]]:
    """Case to annotator to file."""
    by_patient: dict[str, list[str]] = defaultdict(list)
    for case, (entities, _) in images.items():
        by_patient[entities["sub"]].append(case)
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for name in drawn:
        annotator = dict(name.entities).get(annotator_entity)
        own = name.without(annotator_entity)
        cases = [case for case in by_patient[own["sub"]] if _agree(own, images[case][0])]
        if annotator is None:
            unusable.add(name.path.name, f"No entity {annotator_entity} found in {name.path}, the annotator expected.")
        elif len(cases) != 1:
            what = f"{counted(len(cases), 'image')} ({', '.join(cases[:4])})" if cases else "No image"
            unusable.add(name.path.name, f"{what} with its entities found for {name.path}, one expected. Rename it.")
        elif annotator in found[cases[0]]:
            first = found[cases[0]][annotator]
            unusable.add(cases[0], f"Two annotations of {annotator!r} found, one expected: {first} and {name.path}.")
        else:
            found[cases[0]][annotator] = name.path
    return {case: files for case, files in found.items() if files}


def _agree(annotation: Mapping[str, str], image: Mapping[str, str]) -> bool:
    return all(image.get(key, value) == value for key, value in annotation.items())


def _without(ignored: Sequence[int], classes: Iterable[ClassDefinition]) -> list[ClassDefinition]:
    kept = [(one.name, tuple(value for value in one.values if value not in ignored)) for one in classes]
    return [ClassDefinition(name=name, values=values) for name, values in kept if values]


def _classes_of(named: Mapping[int, str]) -> list[ClassDefinition]:
    names = {0: "background", **named} if named else {}
    return [ClassDefinition(name=safe_name(names[value]), values=(value,)) for value in sorted(names)]


def _named_values(root: Path, annotations_suffix: str) -> dict[int, str]:
    """By the tables of labels; empty where there are none.

    Raises:
        DatasetError: A table without the columns, or tables that contradict each other.
    """
    names: dict[int, str] = {}
    tables = [name.path for name in _names(root, (".tsv",)) if name.suffix == annotations_suffix]
    said: dict[int, Path] = {}
    for path in tables:
        for value, label in _rows(path):
            if value in said and names[value] != label:
                raise DatasetError(
                    f"Label {value} found as {names[value]!r} in {said[value]} and as {label!r} in {path}, one name "
                    "expected. Mend a table or give --classes."
                )
            names[value], said[value] = label, path
    return names


def _rows(path: Path) -> list[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [(int(row["index"]), row["name"].strip()) for row in csv.DictReader(file, delimiter="\t")]
    except (KeyError, ValueError, TypeError, AttributeError, OSError, csv.Error):
        raise DatasetError(
            f"A table of labels that cannot be read found at {path}, the columns index (a number) and name, parted by "
            "tabs, expected. Mend it or give --classes."
        ) from None
