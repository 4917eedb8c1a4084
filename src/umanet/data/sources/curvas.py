"""CURVAS 2024 and 2025: abdominal CT; organs by three annotators, pancreatic tumours by five.

Layout: ``training_set/UKCHLL001/image.nii.gz``, ``annotation_1.nii.gz`` to ``annotation_3.nii.gz`` (2024) or
``annotation_5.nii.gz`` (2025, CURVAS-PDACVI); ``validation_set`` and ``testing_set`` in the same way. A folder may lie
in one of its own name.

Reference:
    Riera-Marin et al.: Calibration and Uncertainty for multiRater Volume Assessment in multiorgan Segmentation
    (CURVAS) challenge results. arXiv 2025. DOI 10.48550/arXiv.2505.08685
    Riera-Marin et al.: Assessing Pancreatic Ductal Adenocarcinoma Vascular Invasion: the PDACVI Benchmark. arXiv 2026.
    DOI 10.48550/arXiv.2604.27582
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from umanet.data.formats import listed
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.sources.raw_folder import Unusable, raw_folder, require_cases
from umanet.errors import DatasetError
from umanet.types import Case

HOLDS = "folders such as training_set/UKCHLL001 with image.nii.gz and annotation_1.nii.gz"
IMAGE = "image.nii.gz"
DRAWN = re.compile(r"annotation_(?P<annotator>\d+)\.nii\.gz")
SPLIT = re.compile(r"(?P<part>training|validation|testing|test)(?:[ _-].*)?", re.IGNORECASE)
SPLITS = {"training": None, "validation": "validation", "testing": "test", "test": "test"}
"""Of the cases for training a part becomes the splits that have no folder."""
Edition = Literal["2024", "2025"]
CLASSES: dict[Edition, tuple[str, ...]] = {
    "2024": ("background", "pancreas", "kidney", "liver"),
    "2025": ("background", "pdac"),
}
ANNOTATORS: dict[Edition, int] = {"2024": 3, "2025": 5}
log = logging.getLogger("umanet")


@dataclass(frozen=True)
class _Folder:
    """A case folder and what is drawn in it, by the annotator's number."""

    path: Path
    drawn: Mapping[int, Path]


def index(root: Path, *, edition: Edition | None = None, leave_out: bool = False) -> DatasetIndex:
    """Index the case folders; nothing is converted.

    Args:
        root: Of the download, with the folders of the splits or one of them.
        edition: None tells them apart by the annotators: some case of 2025 has more than three.
        leave_out: Go on without cases that have no image or no annotation.

    Raises:
        DatasetError: Not this layout, a case that comes twice, or one that cannot be used.
    """
    root = raw_folder(root, HOLDS)
    folders = _folders(root)
    require_cases(folders, root, HOLDS)
    highest = max(number for folder in folders for number in (0, *folder.drawn))
    chosen: Edition = edition or ("2025" if highest > ANNOTATORS["2024"] else "2024")
    if highest > ANNOTATORS[chosen]:
        raise DatasetError(
            f"annotation_{highest}.nii.gz found in {root}, at most annotation_{ANNOTATORS[chosen]}.nii.gz expected for "
            f"CURVAS {chosen}. Mend --edition."
        )
    unusable = Unusable(leave_out=leave_out)
    _name_strays(folders, root, unusable)
    cases = [case for folder in folders for case in _case(folder, root, unusable)]
    unusable.settle()
    require_cases(cases, root, HOLDS)
    return DatasetIndex(
        name=f"CURVAS {chosen}",
        spatial_dims=3,
        channels=("ct",),
        classes=tuple(ClassDefinition(name=name, values=(k,)) for k, name in enumerate(CLASSES[chosen])),
        annotators=tuple(f"annotator{number}" for number in range(1, ANNOTATORS[chosen] + 1)),
        cases=tuple(cases),
    )


def _folders(root: Path) -> list[_Folder]:
    """Every folder with an image or an annotation.

    Raises:
        DatasetError: Two folders of one name.
    """
    found: dict[str, _Folder] = {}
    others: set[str] = set()
    for path in sorted({file.parent for file in root.rglob("*.nii.gz")}):
        files = {file.name: file for file in listed(path)}
        matches = {name: DRAWN.fullmatch(name) for name in files}
        drawn = {int(match["annotator"]): files[name] for name, match in matches.items() if match}
        if not drawn and IMAGE not in files:
            others.update(files)
            continue
        others.update(name for name in files if name != IMAGE and not matches[name])
        if path.name in found:
            raise DatasetError(f"Case {path.name} found in {path} and {found[path.name].path}, one of them expected.")
        found[path.name] = _Folder(path, dict(sorted(drawn.items())))
    if others:
        log.info("Files that are no image and no annotation are not used: %s.", ", ".join(sorted(others)[:8]))
    return list(found.values())


def _case(folder: _Folder, root: Path, unusable: Unusable) -> list[Case]:
    """The case, or nothing where it lacks image or annotations."""
    case, image = folder.path.name, folder.path / IMAGE
    missing = [what for what, there in ((IMAGE, image.is_file()), ("annotation_1.nii.gz", folder.drawn)) if not there]
    if missing:
        unusable.add(case, f"No {' and no '.join(missing)} found in {folder.path}, expected. Copy it again.")
        return []
    annotations = {f"annotator{number}": path for number, path in folder.drawn.items()}
    return [Case(case, (image,), annotations, patient=case, split=_split(folder.path, root))]


def _name_strays(folders: list[_Folder], root: Path, unusable: Unusable) -> None:
    """Folders beside those of the splits, whose cases would be shared out at random among all splits."""
    within = {path: any(SPLIT.fullmatch(part) for part in path.relative_to(root.parent).parts[:-1])
              for path in (folder.path for folder in folders)}  # fmt: skip
    strays = sorted({path.parent for path, is_in in within.items() if not is_in})
    for stray in strays if any(within.values()) else ():
        unusable.add(
            stray.name,
            f"Cases found in {stray}, a folder training_set, validation_set or testing_set expected beside the others. "
            "Give it the name of the official download, or move it away.",
        )


def _split(folder: Path, root: Path) -> str | None:
    """By the innermost folder that is named as a split, up to the root itself."""
    for parent in folder.parents:
        match = SPLIT.fullmatch(parent.name)
        if match:
            return SPLITS[match["part"].lower()]
        if parent == root:
            break
    return None
