"""Breast DCE-MRI in the layout of MAMA-MIA: phases before and after contrast, tumours by an expert and by a network.

::

    images/DUKE_001/duke_001_0000.nii.gz        before contrast
    images/DUKE_001/duke_001_0001.nii.gz        after contrast, first phase; how many there are varies
    segmentations/expert/duke_001.nii.gz
    segmentations/automatic/duke_001.nii.gz
    train_test_splits.csv                       columns train_split and test_split, of different lengths

Met: names in upper and in lower case beside each other; a partial download, whose split file names all cases. The
clinical table (a spreadsheet) is not read. Without the folder ``segmentations`` the cases have no annotations, for
``umanet annotate``.

Reference:
    Garrucho et al.: A large-scale multicenter breast cancer DCE-MRI benchmark dataset with expert segmentations.
    Scientific Data 12, 2025. DOI 10.1038/s41597-025-04707-4
"""

import csv
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from umanet.data.formats import listed
from umanet.data.geometry import grid_difference
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.nifti import read_nifti, write_nifti
from umanet.data.sources.raw_folder import Unusable, folder_in, raw_folder, require_cases
from umanet.errors import ConfigError, DatasetError, GeometryError, counted
from umanet.types import Case

HOLDS = "the folders images and segmentations"
ANNOTATORS = ("expert", "automatic")
CLASSES = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="tumour", values=(1,)))
SPLITS_FILE = "train_test_splits.csv"
DEFAULT = ("0", "1", "1-0")
PHASE = re.compile(r"(?P<case>.+)_(?P<phase>\d{4})\.nii(?:\.gz)?", re.IGNORECASE)
LABELS = re.compile(r"(?P<case>.+?)\.nii(?:\.gz)?", re.IGNORECASE)
CHANNEL = re.compile(r"(?:phase)?(\d+)(?:-(?:phase)?(\d+))?")
Key = TypeVar("Key", str, int)
log = logging.getLogger("umanet")


@dataclass(frozen=True)
class Channel:
    """A phase, or what one phase has more than another."""

    phase: int
    less: int | None = None

    @property
    def name(self) -> str:
        return f"phase{self.phase}" if self.less is None else f"phase{self.phase}-phase{self.less}"

    @property
    def phases(self) -> tuple[int, ...]:
        return (self.phase,) if self.less is None else (self.phase, self.less)


def index(
    root: Path,
    *,
    files: Path,
    channels: Sequence[str] = DEFAULT,
    leave_out: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetIndex:
    """Index the folder, and compute the subtractions that are asked for.

    The official test set is kept; a validation set is left to be split off the official training set, which has none.

    Args:
        root: With ``images`` and ``segmentations``.
        files: Folder to make for subtractions.
        channels: Phases and subtractions: ``0``, ``1``, ``1-0``.
        leave_out: Go on without cases that lack a phase, and annotations without image.
        progress: Called with the numbers of finished and of all cases.

    Raises:
        ConfigError: A channel that is neither a phase nor a subtraction, or named twice.
        DatasetError: No case, one without a phase, or with two files of one, an annotation without image, or not a
            folder of this layout.
    """
    chosen = _channels(channels)
    root = raw_folder(root, HOLDS)
    unusable = Unusable(leave_out=leave_out)
    phases = _phases(folder_in(root, "images"), unusable)
    require_cases(phases, root, "images/CASE/CASE_0000.nii.gz and so on")
    drawn = _drawn(root, {case.lower(): case for case in phases}, unusable)
    test = _test_cases(root, phases)
    cases = []
    for done, (case, of_case) in enumerate(phases.items()):
        with unusable.collected(case):
            image = _image(case, of_case, chosen, files)
            split = "test" if case.lower() in test else None
            cases.append(Case(case, image, drawn.get(case, {}), patient=case, split=split))
        if progress:
            progress(done + 1, len(phases))
    unusable.settle()
    require_cases(cases, root, f"the phases of {', '.join(channel.name for channel in chosen)}")
    return DatasetIndex(
        name="breast DCE-MRI",
        spatial_dims=3,
        channels=tuple(channel.name for channel in chosen),
        classes=CLASSES,
        annotators=tuple(name for name in ANNOTATORS if any(name in case.annotations for case in cases)),
        cases=tuple(cases),
    )


def _channels(texts: Sequence[str]) -> tuple[Channel, ...]:
    channels = []
    for text in texts:
        match = CHANNEL.fullmatch(text)
        if match is None or match[1] == match[2]:
            raise ConfigError(
                f"--channels {text} found, a phase or a difference of two expected, as 0, 1 or 1-0. Mend it."
            )
        channels.append(Channel(int(match[1]), None if match[2] is None else int(match[2])))
    if not channels or len(set(channels)) < len(channels):
        raise ConfigError(f"--channels {' '.join(texts)} found, different channels expected, as 0 1 1-0. Mend them.")
    return tuple(channels)


def _phases(images: Path, unusable: Unusable) -> dict[str, dict[int, Path]]:
    """Case, as its folder is called, to phase to file; names are the same whatever the case of letters."""
    found: dict[str, dict[int, Path]] = {}
    others: list[Path] = []
    folders = _grouped((path.name.lower(), path) for path in listed(images) if path.is_dir())
    for alike in folders.values():
        phases: list[tuple[int, Path]] = []
        for path in listed(alike[0]):
            match = PHASE.fullmatch(path.name)
            if match and match["case"].lower() == alike[0].name.lower():
                phases.append((int(match["phase"]), path))
            else:
                others.append(path)
        with unusable.collected(alike[0].name):
            _only(alike)
            found[alike[0].name] = {phase: _only(paths) for phase, paths in _grouped(phases).items()}
    if others:
        log.warning("Passed over as no phase of their case: %s, first %s.", counted(len(others), "file"), others[0])
    return found


def _grouped(named: Iterable[tuple[Key, Path]]) -> dict[Key, list[Path]]:
    groups: dict[Key, list[Path]] = {}
    for key, path in named:
        groups.setdefault(key, []).append(path)
    return groups


def _only(paths: Sequence[Path]) -> Path:
    """Refuse several files of one name, in other letters or compressed: which of them is meant, nobody can tell."""
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        raise DatasetError(f"{names} found, one expected, in {paths[0].parent}. Remove one of them.")
    return paths[0]


def _drawn(root: Path, case_of: dict[str, str], unusable: Unusable) -> dict[str, dict[str, Path]]:
    drawn: dict[str, dict[str, Path]] = {}
    segmentations = root / "segmentations"
    if not segmentations.is_dir():
        log.warning("No folder 'segmentations' found in %s: the cases have no annotations.", root)
        return drawn
    for annotator in _annotators(segmentations):
        files = ((LABELS.fullmatch(path.name), path) for path in listed(segmentations / annotator))
        for name, paths in _grouped((match["case"].lower(), path) for match, path in files if match).items():
            with unusable.collected(f"{name} by {annotator}"):
                path = _only(paths)
                if name not in case_of:
                    raise DatasetError(
                        f"An annotation without image found at {path}, images/{name} expected. Copy it again."
                    )
                drawn.setdefault(case_of[name], {})[annotator] = path
    if not drawn:
        raise DatasetError(
            f"No annotation found in {segmentations}, {' or '.join(ANNOTATORS)}/CASE.nii.gz expected. Check "
            "that all was unpacked; without the folder, cases are imported without annotations."
        )
    return drawn


def _annotators(segmentations: Path) -> list[str]:
    """Those that are there; what else is there, or is not, is said."""
    there = [path.name for path in listed(segmentations) if path.is_dir()]
    for what, names in (
        ("passed over", [name for name in there if name not in ANNOTATORS]),
        ("not found", [name for name in ANNOTATORS if name not in there]),
    ):
        if names:
            log.warning("Folder %s %s in %s.", ", ".join(names), what, segmentations)
    return [name for name in ANNOTATORS if name in there]


def _test_cases(root: Path, phases: dict[str, dict[int, Path]]) -> set[str]:
    """The official test cases, in lower case. Cases of the file that are not there are counted, not refused."""
    path = root / SPLITS_FILE
    if not path.is_file():
        log.warning("No %s found in %s: the splits are not the official ones.", SPLITS_FILE, root)
        return set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise DatasetError(f"{path} cannot be read as CSV. Copy it again.") from None
    if not rows or not {"train_split", "test_split"} <= set(rows[0]):
        found = ", ".join(filter(None, rows[0])) if rows else "no row"
        raise DatasetError(f"{found} found, the columns train_split and test_split expected, in {path}. Copy it again.")
    train, test = ({(row[name] or "").strip().lower() for row in rows} - {""} for name in ("train_split", "test_split"))
    if both := sorted(train & test):
        raise DatasetError(f"{both[0]!r} found in both splits, one expected, in {path}. Copy it again.")
    have = {case.lower() for case in phases}
    for number, what in ((len((train | test) - have), "of {} without images"), (len(have - train - test), "not in {}")):
        if number:
            log.warning("%s %s.", counted(number, "case"), what.format(SPLITS_FILE))
    return test


def _image(case: str, phases: dict[int, Path], channels: Sequence[Channel], files: Path) -> tuple[Path, ...]:
    lacking = sorted({phase for channel in channels for phase in channel.phases} - set(phases))
    if lacking:
        have = ", ".join(map(str, sorted(phases))) or "none"
        raise DatasetError(
            f"Phases {have} found, {', '.join(map(str, lacking))} expected too, in images/{case}. Copy them again, or "
            "choose other --channels."
        )
    return tuple(
        phases[channel.phase]
        if channel.less is None
        else _subtraction(
            phases[channel.phase], phases[channel.less], files / "images" / f"{case}_{channel.name}.nii.gz"
        )
        for channel in channels
    )


def _subtraction(later: Path, earlier: Path, output: Path) -> Path:
    """Signed, on the grid of ``later``; int16 where both files hold whole numbers that fit, else float32."""
    (more, geometry), (less, other) = read_nifti(later, 3), read_nifti(earlier, 3)
    difference = grid_difference(geometry, other)
    if difference:
        raise GeometryError(
            f"{difference} found for the phases {later} and {earlier}, the same grid expected. Resample one of them."
        )
    if len(more) != 1 or len(less) != 1:
        raise GeometryError(f"Several channels found in {later} or {earlier}, one expected. Split the file.")
    found = more[0].astype(np.float64) - less[0].astype(np.float64)
    bounds = np.iinfo(np.int16)
    whole = more.dtype.kind in "iu" and less.dtype.kind in "iu"
    fits = whole and bounds.min <= found.min() and found.max() <= bounds.max
    write_nifti(output, found.astype(np.int16 if fits else np.float32), geometry)
    return output
