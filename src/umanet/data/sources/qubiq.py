"""QUBIQ 2020 and 2021: binary tasks on MR and CT images, each drawn by two to seven annotators.

Layout: ``kidney/Training/case01/image.nii.gz``, ``task01_seg01.nii.gz`` (task 1, annotator 1) and so on; Validation in
the same way, from an archive of its own. Of ``pancreas`` and ``pancreatic-lesion`` (2021) the cases for training lie in
the folder itself.

Quirks: brain-tumor has its four MR channels along the third axis of a 3D file, which no reader takes for channels:
its images are rewritten as 2D with channels. One prostate case has five annotators of six. Some brain tumours have no
third structure: such files are empty, or not there. All of it is kept.

Reference:
    Li et al.: QUBIQ: Uncertainty Quantification for Biomedical Image Segmentation Challenge. arXiv 2024.
    DOI 10.48550/arXiv.2405.18435
"""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from umanet.data.files import whole_file
from umanet.data.formats import listed, reading
from umanet.data.geometry import grid_difference
from umanet.data.images import read_annotation_values
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.nifti import write_nifti
from umanet.data.sources.raw_folder import Unusable, one_each, raw_folder, require_cases
from umanet.errors import AnnotationError, DatasetError, GeometryError, ImageError, did_you_mean
from umanet.types import IGNORE, Case, Geometry

CHANNELS = {
    "brain-growth": ("mr",),
    "brain-tumor": ("channel1", "channel2", "channel3", "channel4"),
    "kidney": ("ct",),
    "prostate": ("mr",),
    "pancreas": ("ct",),
    "pancreatic-lesion": ("ct",),
}
"""By data set. In which order the MR channels of brain-tumor are, no document of the challenge says."""
IN_3D = ("pancreas", "pancreatic-lesion")
PARTS = {"Training": None, "Validation": "test", "Test": "test", "Testing": "test"}
"""Folder to split; of the cases for training a part becomes the validation split later."""
HOLDS = "a folder such as kidney with the folders Training and Validation, and in these case01/image.nii.gz"
DRAWN = re.compile(r"task(?P<task>\d+)_seg(?P<annotator>\d+)\.nii(?:\.gz)?")
IMAGES = ("image.nii.gz", "image.nii")
MASK_VALUES = (1, 255)
MOST_CHANNELS = 4
log = logging.getLogger("umanet")


@dataclass(frozen=True)
class _Found:
    """A case folder: its image, and annotator to file by task."""

    id: str
    image: Path
    split: str | None
    drawn: Mapping[int, Mapping[str, Path]]


def index(
    root: Path,
    files: Path,
    *,
    dataset: str | None = None,
    task: str | None = None,
    leave_out: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetIndex:
    """Index one task of one of the data sets, or all its tasks as classes.

    Args:
        root: Holds the folder ``dataset``, at any depth and perhaps several times (an archive each for training and
            validation), or is it.
        files: Folder to make for images with channels, and for the annotations of ``task="all"``.
        dataset: As ``kidney``; None takes the only one there is.
        task: ``1``, ``2``, ...; None takes the only one there is. ``all`` makes a class of each: where tasks overlap
            the higher one wins, as they are nested. Where an annotator has no file of a task, the voxels inside the
            next lower task that they drew are ignored, or all that no other task claims.
        leave_out: Go on without cases and annotations that cannot be used.
        progress: Called after every case with the number of cases done and of all.

    Raises:
        DatasetError: Not this layout, a data set or task that is not there, or something that cannot be used.
    """
    root = raw_folder(root, HOLDS)
    dataset, bases = _choose(root, dataset)
    unusable = Unusable(leave_out=leave_out)
    found = [case for folder, split in _case_folders(bases) for case in _read_folder(folder, split, unusable)]
    require_cases(found, root, HOLDS)
    _refuse_twice(found)
    tasks = _tasks(found, task, dataset)
    cases = []
    for done, one in enumerate(found, start=1):
        with unusable.collected(one.id):
            cases.append(_case(one, dataset, tasks, files, unusable))
        if progress is not None:
            progress(done, len(found))
    unusable.settle()
    require_cases(cases, root, HOLDS)
    classes = [ClassDefinition(name="background", values=(0,))]
    classes += [
        ClassDefinition(name=f"task{number:02}", values=MASK_VALUES if len(tasks) == 1 else (k,))
        for k, number in enumerate(tasks, start=1)
    ]
    return DatasetIndex(
        name=f"QUBIQ {dataset}",
        spatial_dims=3 if dataset in IN_3D else 2,
        channels=CHANNELS[dataset],
        classes=tuple(classes),
        annotators=tuple(sorted({name for case in cases for name in case.annotations})),
        ignore=(IGNORE,) if len(tasks) > 1 else (),
        cases=tuple(cases),
    )


def _choose(root: Path, dataset: str | None) -> tuple[str, list[Path]]:
    """The data set and the folders that have its name, or the root itself."""
    if dataset is not None and dataset not in CHANNELS:
        raise DatasetError(
            f"Data set {dataset!r} found, one of {', '.join(CHANNELS)} expected.{did_you_mean(dataset, CHANNELS)}"
        )
    inside = [path.name for path in listed(root) if path.is_dir()]
    if any(name in PARTS or name.startswith("case") for name in inside):
        chosen = dataset or (root.name if root.name in CHANNELS else None)
        if chosen is None:
            raise DatasetError(
                f"Cases of an unknown data set found in {root}, one of {', '.join(CHANNELS)} expected. Say which with "
                "--dataset, or give the folder its official name."
            )
        return chosen, [root]
    bases = defaultdict(list)
    for path in [root, *sorted(root.rglob("*"))]:
        if path.is_dir() and path.name in CHANNELS:
            bases[path.name].append(path)
    if dataset is None and len(bases) > 1:
        raise DatasetError(f"{', '.join(bases)} found in {root}, one data set expected. Choose it with --dataset.")
    chosen = dataset or next(iter(bases), None)
    if chosen not in bases:
        there = ", ".join(bases) or ", ".join(inside[:8]) or "no folder"
        near = did_you_mean(inside[0], CHANNELS) if len(inside) == 1 else ""
        raise DatasetError(
            f"{there} found in {root}, {f'the folder {chosen}' if chosen else HOLDS} expected.{near} Check the path, "
            "and give the folders their official names."
        )
    return str(chosen), bases[chosen]


def _case_folders(bases: Sequence[Path]) -> list[tuple[Path, str | None]]:
    """Every case folder and its split, in order.

    Raises:
        DatasetError: A folder that is neither a part of the data set nor a case.
    """
    found = []
    for base in bases:
        for path in listed(base):
            if path.is_dir() and path.name.startswith("case"):
                found.append((path, None))
            elif path.name in PARTS:
                found += [(case, PARTS[path.name]) for case in listed(path) if case.is_dir()]
            elif path.is_dir():
                near = did_you_mean(path.name, PARTS)
                raise DatasetError(
                    f"Folder {path.name!r} found in {base}, any of {', '.join(PARTS)} expected.{near} Give the folders "
                    "the names that they have in the official download."
                )
    return found


def _read_folder(folder: Path, split: str | None, unusable: Unusable) -> list[_Found]:
    """The case in a folder, or nothing where its image is missing."""
    part = folder.parent.name if folder.parent.name in PARTS else "Training"
    name = f"{part}_{folder.name}"
    image = next((folder / file for file in IMAGES if (folder / file).is_file()), None)
    if image is None:
        unusable.add(name, f"No image.nii.gz found in {folder}, one expected. Copy it again.")
        return []
    matches = [(DRAWN.fullmatch(path.name), path) for path in listed(folder)]
    for match, path in matches:
        if match is None and path != image:
            log.warning("%s: %s is no file of this layout, and is not used.", name, path.name)
    named = (((name, int(match["task"]), int(match["annotator"])), path) for match, path in matches if match)
    drawn: dict[int, dict[str, Path]] = defaultdict(dict)
    for (_, task, number), path in one_each(named, unusable).items():
        drawn[task][f"annotator{number}"] = path
    return [_Found(name, image, split, drawn)]


def _refuse_twice(found: Sequence[_Found]) -> None:
    first: dict[str, Path] = {}
    for case in found:
        if case.id in first:
            raise DatasetError(
                f"Case {case.id} found in {first[case.id].parent} and in {case.image.parent}, once expected. Name a "
                "folder that holds one copy of the data set."
            )
        first[case.id] = case.image


def _tasks(found: Sequence[_Found], task: str | None, dataset: str) -> list[int]:
    """The numbers of the tasks that are asked for."""
    there = sorted({number for case in found for number in case.drawn})
    names = ", ".join(map(str, there))
    if not there:
        raise DatasetError(f"No file such as task01_seg01.nii.gz found in any case of {dataset}, annotations expected.")
    if task == "all" or (task is None and len(there) == 1):
        return there
    if task is None:
        raise DatasetError(
            f"Tasks {names} found in {dataset}, one expected. Choose it with --task; --task all makes classes of them."
        )
    if not task.isdigit() or int(task) not in there:
        raise DatasetError(f"Task {task!r} found, one of {names} or all expected, for {dataset}. Mend --task.")
    return [int(task)]


def _case(one: _Found, dataset: str, tasks: Sequence[int], files: Path, unusable: Unusable) -> Case:
    """A case with what has to be rewritten in ``files``."""
    in_3d = dataset in IN_3D
    if len(tasks) == 1:
        annotations = dict(one.drawn.get(tasks[0], {}))
    else:
        annotations = {}
        for name in sorted({name for drawn in one.drawn.values() for name in drawn}):
            target = files / "annotations" / name / f"{one.id}.nii.gz"
            with unusable.collected(f"{one.id}/{name}"):
                annotations[name] = _merge([one.drawn.get(t, {}).get(name) for t in tasks], 3 if in_3d else 2, target)
    image = one.image if in_3d else _flat(one, len(CHANNELS[dataset]), files)
    return Case(one.id, (image,), annotations, patient=one.id, split=one.split)


def _flat(one: _Found, channels: int, files: Path) -> Path:
    """The image file, or a 2D copy of it where channels lie along a spatial axis.

    Raises:
        ImageError: Unreadable, or other channels than the data set has.
    """
    with reading(one.image):
        stored = nib.load(one.image)
        shape, affine = stored.shape, stored.affine  # type: ignore[attr-defined]  # images with a grid
        if sum(size > 1 for size in shape) == 2 and channels == 1:
            return one.image
        planes = np.squeeze(np.asanyarray(stored.dataobj))  # type: ignore[attr-defined]  # images with data
    # The third axis is no place: where the grid lies in space the annotations know.
    first = next((path for drawn in one.drawn.values() for path in drawn.values()), None)
    if first is not None:
        with reading(first):
            affine = nib.load(first).affine  # type: ignore[attr-defined]  # images with a grid
    values = _channels_last(planes, channels, one.image)
    target = files / "images" / f"{one.id}.nii.gz"
    with whole_file(target) as temporary:
        nib.save(nib.Nifti1Image(values[:, :, None, :], affine), temporary)
    return target


def _channels_last(planes: Shaped[np.ndarray, "..."], channels: int, path: Path) -> Shaped[np.ndarray, "H W C"]:
    """Channels are the first or the last axis, whichever is short. Equal planes of a grey image are one."""
    if planes.ndim == 3 and planes.shape[0] <= MOST_CHANNELS < planes.shape[2]:
        planes = np.moveaxis(planes, 0, 2)
    if planes.ndim == 3 and channels == 1 and (planes == planes[:, :, :1]).all():
        planes = planes[:, :, :1]
    if planes.ndim == 3 and planes.shape[2] == channels:
        return planes
    raise ImageError(
        f"Shape {planes.shape} found, a 2D image with {channels} channel{'s' * (channels > 1)} expected, at {path}. "
        "Copy it again."
    )


def _merge(paths: Sequence[Path | None], spatial_dims: int, target: Path) -> Path:
    """Write the masks of nested tasks as one label map: class k is the k-th task, 0 background.

    Raises:
        ImageError, GeometryError, AnnotationError: A file is unreadable, no mask, or on another grid.
    """
    read = [None if path is None else _mask(path, spatial_dims) for path in paths]
    there = [one for one in read if one is not None]
    for _, geometry in there[1:]:
        difference = grid_difference(there[0][1], geometry)
        if difference:
            raise GeometryError(
                f"{difference} found for the tasks of an annotator, one grid expected. Copy them again."
            )
    labels = nested_labels([None if one is None else one[0] for one in read], there[0][0].shape)
    write_nifti(target, labels, there[0][1])
    return target


def nested_labels(
    masks: Sequence[Bool[np.ndarray, "*spatial"] | None], shape: tuple[int, ...]
) -> UInt8[np.ndarray, "*spatial"]:
    """Masks of nested structures, the largest first, as classes from 1; ``IGNORE`` where a missing one may lie."""
    labels = np.zeros(shape, np.uint8)
    around = np.ones(shape, bool)
    for k, mask in enumerate(masks, start=1):
        labels[around if mask is None else mask] = IGNORE if mask is None else k
        around = around if mask is None else mask
    return labels


def _mask(path: Path, spatial_dims: int) -> tuple[Bool[np.ndarray, "*spatial"], Geometry]:
    values, geometry = read_annotation_values(path, spatial_dims)
    unknown = sorted(set(np.unique(values).tolist()) - {0, *MASK_VALUES})
    if unknown:
        raise AnnotationError(f"Value {unknown[0]:g} found in {path}, a mask of 0 and 1 expected. Copy it again.")
    return values != 0, geometry
