"""CHASE_DB1: 28 fundus photographs of 14 children, vessels drawn by two observers.

The download is one folder: ``Image_01L.jpg``, ``Image_01L_1stHO.png``, ``Image_01L_2ndHO.png`` (left and right eye of
child 01). Files may lie in sub-folders. Where to get it, licence and usual splits: docs/reference/sources.md.

Reference:
    Fraz et al.: An Ensemble Classification-Based Approach Applied to Retinal Blood Vessel Segmentation. IEEE
    Transactions on Biomedical Engineering 59(9), 2012. DOI 10.1109/TBME.2012.2205687
"""

import re
from collections import defaultdict
from pathlib import Path

from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.sources.raw_folder import Unusable, one_each, raw_folder, require_cases
from umanet.types import Case

HOLDS = "the files Image_01L.jpg, Image_01L_1stHO.png, Image_01L_2ndHO.png and so on"
NAME = re.compile(r"(?P<case>Image_(?P<patient>\d+)[LR])(?:_(?P<observer>1st|2nd)HO)?\.(?:jpg|png)", re.IGNORECASE)
OBSERVERS = {"1st": "observer1", "2nd": "observer2"}
CLASSES = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="vessel", values=(255, 1)))


def index(root: Path, *, leave_out: bool = False) -> DatasetIndex:
    """Index the folder; the eyes of a child are cases of one patient.

    Args:
        root: Of the download, with all files in it or in folders below.
        leave_out: Go on without annotations that have no image.

    Raises:
        DatasetError: No case, an annotation without image, two files of one name, or not a folder of this layout.
    """
    root = raw_folder(root, HOLDS)
    unusable = Unusable(leave_out=leave_out)
    matches = [(match, path) for path in sorted(root.rglob("*")) if (match := NAME.fullmatch(path.name))]
    images = one_each(((match["case"], path) for match, path in matches if not match["observer"]), unusable)
    named = (((match["case"], match["observer"].lower()), path) for match, path in matches if match["observer"])
    drawn: dict[str, dict[str, Path]] = defaultdict(dict)
    for (case, observer), path in one_each(named, unusable).items():
        drawn[case][OBSERVERS[observer]] = path
    require_cases(matches, root, HOLDS)
    for case in sorted(set(drawn) - set(images)):
        unusable.add(case, f"Annotations without image found in {root}, {case}.jpg expected. Copy it again.")
    unusable.settle()
    return DatasetIndex(
        name="CHASE_DB1",
        spatial_dims=2,
        channels=("red", "green", "blue"),
        classes=CLASSES,
        annotators=tuple(OBSERVERS.values()),
        cases=tuple(
            Case(case, (path,), dict(sorted(drawn[case].items())), patient=NAME.fullmatch(path.name)["patient"])  # type: ignore[index]  # matched above
            for case, path in sorted(images.items())
        ),
    )
