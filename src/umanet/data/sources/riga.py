"""RIGA: 750 fundus photographs; optic disc and cup, drawn into copies of the picture by six ophthalmologists.

Layout: ``BinRushed/BinRushed1-Corrected``, ``BinRushed2`` to ``BinRushed4``, ``MESSIDOR``, ``Magrabia/MagrabiaMale``
and ``Magrabia/MagrabiFemale`` (so on disk), each with ``image12prime.tif`` (the photograph) and ``image12-1.tif`` to
``image12-6.tif`` (with the contours of one annotator), all ``.tif`` or ``.jpg``, sometimes ``Image12-1``. There are no
masks. ``BinRushed1`` has no usable photographs: ``BinRushed1-Corrected`` takes its place.

The contours are where a copy differs from the photograph. The outer one bounds the disc, the inner one the cup.

Reference:
    Almazroa et al.: Retinal fundus images for glaucoma analysis: the RIGA dataset. SPIE Medical Imaging 2018.
    DOI 10.1117/12.2293584
"""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from umanet.data.images import read_image
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.pictures import write_picture
from umanet.data.sources.drawn_lines import disc_and_cup
from umanet.data.sources.raw_folder import Unusable, raw_folder, require_cases
from umanet.errors import DatasetError, GeometryError, UmanetError, did_you_mean
from umanet.types import Case

HOLDS = "the folders BinRushed, MESSIDOR and Magrabia with image1prime.tif, image1-1.tif and so on"
NAME = re.compile(r"image(?P<number>\d+)(?:(?P<prime>prime)|-(?P<annotator>\d))\.(?:tiff?|jpe?g)", re.IGNORECASE)
FOLDERS = {
    "BinRushed1-Corrected": "BinRushed1",
    "BinRushed1": "BinRushed1",
    "BinRushed2": "BinRushed2",
    "BinRushed3": "BinRushed3",
    "BinRushed4": "BinRushed4",
    "MESSIDOR": "MESSIDOR",
    "MagrabiaMale": "MagrabiaMale",
    "MagrabiFemale": "MagrabiaFemale",
    "MagrabiaFemale": "MagrabiaFemale",
}
"""Folder on disk to the name that its cases begin with."""
TESTED = "Magrabia"
"""Published work trains on BinRushed and MESSIDOR, and tests here: another clinic, another camera."""
ANNOTATORS = tuple(f"annotator{number}" for number in range(1, 7))
CLASSES = (
    ClassDefinition(name="background", values=(0,)),
    ClassDefinition(name="disc", values=(1,)),
    ClassDefinition(name="cup", values=(2,)),
)
Pictures = dict[str, Path]
"""``prime``, or the annotator, to the file."""
log = logging.getLogger("umanet")


def index(
    root: Path,
    files: Path,
    *,
    leave_out: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetIndex:
    """Index the photographs, and write what was drawn into their copies as label maps: 1 disc without cup, 2 cup.

    Args:
        root: Of the download; the folders may lie deeper.
        files: Folder to make for the label maps.
        leave_out: Go on without annotations of which the contours cannot be followed, and cases without photograph.
        progress: Called after every case with the number of cases done and of all.

    Raises:
        DatasetError: Not this layout, or something that cannot be used.
    """
    root = raw_folder(root, HOLDS)
    unusable = Unusable(leave_out=leave_out)
    found = _pictures(root, unusable)
    require_cases(found, root, HOLDS)
    cases = []
    for done, (case, pictures) in enumerate(found.items(), start=1):
        with unusable.collected(case):
            cases.append(_case(case, pictures, root, files, unusable))
        if progress is not None:
            progress(done, len(found))
    unusable.settle()
    require_cases(cases, root, HOLDS)
    return of_cases(cases)


def of_cases(cases: Sequence[Case]) -> DatasetIndex:
    return DatasetIndex(
        name="RIGA",
        spatial_dims=2,
        channels=("red", "green", "blue"),
        classes=CLASSES,
        annotators=ANNOTATORS,
        cases=tuple(cases),
    )


def _pictures(root: Path, unusable: Unusable) -> dict[str, Pictures]:
    """By case, in the order of folders and numbers."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(root.rglob("*")):
        if NAME.fullmatch(path.name):
            by_folder[path.parent].append(path)
    names = {folder.name for folder in by_folder}
    found: dict[str, Pictures] = defaultdict(dict)
    for folder, paths in by_folder.items():
        if folder.name not in FOLDERS:
            near = did_you_mean(folder.name, FOLDERS)
            raise DatasetError(
                f"Pictures found in the folder {folder}, one of {', '.join(FOLDERS)} expected.{near} Give the folders "
                "the names that they have in the official download."
            )
        if folder.name == "BinRushed1" and "BinRushed1-Corrected" in names:
            log.info("BinRushed1 is not used: BinRushed1-Corrected takes its place.")
            continue
        for path in paths:
            _file(path, FOLDERS[folder.name], found, unusable)
    absent = sorted(set(FOLDERS.values()) - {FOLDERS.get(name) for name in names})
    if found and absent:
        log.warning("No pictures of %s found in %s: the rest is imported.", ", ".join(absent), root)
    return dict(sorted(found.items(), key=lambda item: (item[0].split("_")[0], int(item[0].split("image")[1]))))


def _file(path: Path, prefix: str, found: dict[str, Pictures], unusable: Unusable) -> None:
    """Put a picture at its place in ``found``."""
    match = NAME.fullmatch(path.name)
    if match is None:
        return
    case = f"{prefix}_image{match['number']}"
    who = "prime" if match["prime"] else f"annotator{match['annotator']}"
    if who not in ("prime", *ANNOTATORS):
        unusable.add(f"{case}/{who}", f"{path} found, a number from 1 to {len(ANNOTATORS)} expected. Move it away.")
    elif who in found[case]:
        message = f"{path.name} and {found[case][who].name} found in {path.parent}, one of them expected. Remove one."
        unusable.add(f"{case}/{who}", message)
    else:
        found[case][who] = path


def _case(case: str, pictures: Pictures, root: Path, files: Path, unusable: Unusable) -> Case:
    """A case with its contours written as label maps.

    Raises:
        DatasetError: The photograph without contours is missing.
        ImageError: It cannot be read.
    """
    if "prime" not in pictures:
        number = case.split("image")[1]
        raise DatasetError(
            f"No photograph found, image{number}prime.tif or .jpg expected, in {next(iter(pictures.values())).parent}. "
            "Without it the contours cannot be told from the picture: copy it again."
        )
    photograph, geometry = read_image([pictures["prime"]], 2)
    annotations = {}
    for who in ANNOTATORS:
        if who not in pictures:
            unusable.add(f"{case}/{who}", f"No picture with contours found in {root}, one expected. Copy it again.")
            continue
        with unusable.collected(f"{case}/{who}"):
            copy, own = read_image([pictures[who]], 2)
            if own.shape != geometry.shape or len(copy) != len(photograph):
                raise GeometryError(f"Shape {own.shape} found, {geometry.shape} expected, in {pictures[who]}.")
            try:
                labels = disc_and_cup(np.abs(copy - photograph).max(0))
            except UmanetError as error:
                raise type(error)(f"{error} In {pictures[who]}.") from None
            annotations[who] = files / "annotations" / who / f"{case}.png"
            write_picture(annotations[who], labels)
    split = "test" if case.startswith(TESTED) else None
    return Case(case, (pictures["prime"],), annotations, patient=case, split=split)
