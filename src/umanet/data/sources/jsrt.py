"""JSRT: 247 chest radiographs; lungs, heart and clavicles from the SCR database.

Layout: ``JPCLN001.IMG`` (with a nodule) and ``JPCNN001.IMG`` (without), in any folder: 2048 x 2048 big-endian 16-bit
numbers without a header, of which 12 bits are used, dark bones. And, of the SCR download,
``scratch/fold1/masks/left lung/JPCLN001.gif`` and so on, 1024 x 1024: images with odd numbers in fold1, even in fold2.

The folds are those of a cross-validation, not observers. SCR speaks of a second observer, but its download has one set
of masks.

Reference:
    van Ginneken, Stegmann, Loog: Segmentation of anatomical structures in chest radiographs using supervised methods:
    a comparative study on a public database. Medical Image Analysis 10(1), 2006. DOI 10.1016/j.media.2005.02.002
    Shiraishi et al.: Development of a digital image database for chest radiographs with and without a lung nodule.
    American Journal of Roentgenology 174(1), 2000. DOI 10.2214/ajr.174.1.1740071
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8, UInt16

from umanet.data.formats import reading
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.pictures import opened_picture, write_picture
from umanet.data.sources.raw_folder import Unusable, one_each, raw_folder, require_cases
from umanet.errors import DatasetError, GeometryError, ImageError
from umanet.types import Case

HOLDS = "the files JPCLN001.IMG and so on, and the folders scratch/fold1/masks and scratch/fold2/masks of SCR"
IMAGE = re.compile(r"(?P<case>JPC(?:LN|NN)\d{3})\.img", re.IGNORECASE)
MASK = re.compile(r"(?P<case>JPC(?:LN|NN)\d{3})\.gif", re.IGNORECASE)
STRUCTURES = {"left lung": 1, "right lung": 1, "heart": 2, "left clavicle": 3, "right clavicle": 3}
"""Folder to class. Clavicles lie on the lungs, and the heart on what is behind it: a higher class wins."""
CLASSES = tuple(
    ClassDefinition(name=name, values=(k,)) for k, name in enumerate(("background", "lung", "heart", "clavicle"))
)
OFFICIAL_SIDE = 2048
LARGEST_VALUE = 4095
OBSERVER = "observer1"
Masks = dict[str, dict[str, Path]]
"""By case and structure."""


def index(
    root: Path,
    files: Path,
    *,
    drawn_as: Literal["truth", "annotator"] = "truth",
    split_by_fold: bool = False,
    leave_out: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetIndex:
    """Index the radiographs, written with bright bones on the grid of the masks, and one label map of each.

    Args:
        root: Holds the images and the folder ``scratch`` of SCR, at any depth.
        files: Folder to make for images and label maps.
        drawn_as: ``truth`` is for simulated annotators; ``annotator`` makes SCR's observer one.
        split_by_fold: fold2 is the test split, as in SCR's first round.
        leave_out: Go on without images of which a mask is missing or a file cannot be used.
        progress: Called after every case with the number of cases done and of all.

    Raises:
        DatasetError: Not this layout, or something that cannot be used.
    """
    root = raw_folder(root, HOLDS)
    unusable = Unusable(leave_out=leave_out)
    images = one_each(((match["case"].upper(), path) for path, match in _matching(root, IMAGE)), unusable)
    require_cases(images, root, HOLDS)
    masks, folds = _masks(root, unusable)
    if not masks:
        raise DatasetError(f"No mask found in {root}, scratch/fold1/masks/left lung/JPCLN001.gif expected. Unpack SCR.")
    for case in sorted(set(masks) - set(images)):
        unusable.add(case, f"Masks without image found in {root}, {case}.IMG expected. Copy it again.")
    cases = []
    for done, (case, path) in enumerate(sorted(images.items()), start=1):
        with unusable.collected(case):
            split = "test" if split_by_fold and folds.get(case) == "fold2" else None
            cases.append(_case(case, path, masks.get(case, {}), files, drawn_as, split))
        if progress is not None:
            progress(done, len(images))
    unusable.settle()
    require_cases(cases, root, HOLDS)
    return DatasetIndex(
        name="JSRT",
        spatial_dims=2,
        channels=("xray",),
        classes=CLASSES,
        annotators=(OBSERVER,) if drawn_as == "annotator" else (),
        cases=tuple(cases),
    )


def read_radiograph(path: Path, side: int) -> UInt16[np.ndarray, "side side"]:
    """A raw file as a picture with bright bones: 0 to 4095, the mean over squares of pixels.

    Args:
        path: Of the ``.IMG`` file.
        side: Of the result; that of the file must be a multiple of it.

    Raises:
        ImageError: Not a square of 16-bit numbers, or values of more than 12 bits.
        GeometryError: The sides do not fit.
    """
    with reading(path):
        data = path.read_bytes()
    found = math.isqrt(len(data) // 2)
    if not data or 2 * found**2 != len(data):
        raise ImageError(
            f"{len(data)} bytes found, {2 * OFFICIAL_SIDE**2} ({OFFICIAL_SIDE} x {OFFICIAL_SIDE} pixels of 2 bytes) "
            f"expected, in {path}. It looks like a half download: copy it again."
        )
    values = np.frombuffer(data, ">u2").reshape(found, found)
    if values.max() > LARGEST_VALUE:
        raise ImageError(
            f"Value {values.max()} found, 0 to {LARGEST_VALUE} in big-endian order expected, in {path}. Take the file "
            "of the official download."
        )
    if found % side:
        raise GeometryError(f"{found} pixels a side found, a multiple of the masks' {side} expected, in {path}.")
    factor = found // side
    means = (LARGEST_VALUE - values.astype(np.float64)).reshape(side, factor, side, factor).mean((1, 3))
    return np.rint(means).astype(np.uint16)


def _matching(root: Path, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
    matches = ((path, pattern.fullmatch(path.name)) for path in sorted(root.rglob("*")))
    return [(path, match) for path, match in matches if match]


def _masks(root: Path, unusable: Unusable) -> tuple[Masks, dict[str, str]]:
    """The masks, and the fold that each case is in."""
    masks: Masks = defaultdict(dict)
    folds: dict[str, str] = {}
    named = [((match["case"].upper(), path.parent.name), path) for path, match in _matching(root, MASK)]
    structures = ((name, path) for name, path in named if name[1] in STRUCTURES)
    for (case, structure), path in one_each(structures, unusable).items():
        masks[case][structure] = path
        folds[case] = path.parent.parent.parent.name
    return masks, folds


def _case(
    case: str, path: Path, masks: Mapping[str, Path], files: Path, drawn_as: Literal["truth", "annotator"],
    split: str | None,
) -> Case:  # fmt: skip
    """A case with image and label map written.

    Raises:
        DatasetError, ImageError, GeometryError: A mask is missing, or a file cannot be used.
    """
    missing = [structure for structure in STRUCTURES if structure not in masks]
    if missing:
        raise DatasetError(
            f"No mask of {', '.join(missing)} found for {path}, one {case}.gif of each structure expected. Without it "
            "the label map would say that there is none: copy it again."
        )
    labels = _label_map(masks)
    image = files / "images" / f"{case}.png"
    write_picture(image, read_radiograph(path, labels.shape[0]))
    drawn = files / ("truth" if drawn_as == "truth" else f"annotations/{OBSERVER}") / f"{case}.png"
    write_picture(drawn, labels)
    if drawn_as == "truth":
        return Case(case, (image,), truth=drawn, patient=case, split=split)
    return Case(case, (image,), {OBSERVER: drawn}, patient=case, split=split)


def _label_map(masks: Mapping[str, Path]) -> UInt8[np.ndarray, "side side"]:
    read = {structure: _mask(masks[structure]) for structure in STRUCTURES}
    shapes = sorted({mask.shape for mask in read.values()})
    if len(shapes) != 1 or shapes[0][0] != shapes[0][1]:
        found = ", ".join(map(str, shapes))
        raise GeometryError(f"Shape {found} found, one square expected, for the masks beside {masks['heart']}.")
    labels = np.zeros(shapes[0], np.uint8)
    for structure, k in STRUCTURES.items():
        labels[read[structure]] = k
    return labels


def _mask(path: Path) -> Bool[np.ndarray, "H W"]:
    with reading(path), opened_picture(path) as picture:
        return np.asarray(picture.convert("L")) > 127
