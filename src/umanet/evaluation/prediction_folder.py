"""Which files of a folder are predictions of which case: our own folders, and those of other tools.

Our own say so in ``predictions.json``. Elsewhere names decide; every part but one of the first two may be absent::

    CASE.nii.gz or labels/CASE.nii.gz     label maps
    probabilities/CLASS/CASE.nii.gz       a map per class, or probabilities/CASE.nii.gz with a channel per class
    CASE.npz                              probabilities as nnU-Net writes them, beside its label maps
    entropy/CASE.nii.gz                   uncertainty: any numbers, high where the prediction may be wrong
    samples/NAME/CASE.nii.gz              label maps drawn from the prediction, a folder for each draw
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from umanet.data.formats import SUFFIXES, stem_of
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.errors import ConfigError, DatasetError, TaskError, did_you_mean
from umanet.errors import counted as number_of
from umanet.types import Case

MANIFEST = "predictions.json"
NPZ = ".npz"
NAMED = 4
"""Files that a message names as examples."""
NAMED_CASES = 10
"""Cases that a message names, of those that have to be mended."""
LabelValues = Literal["file", "index"]


@dataclass(frozen=True)
class CaseFiles:
    """Of one predicted case.

    Attributes:
        labels: None where there are probabilities only.
        probabilities: Map of a class, by name.
        channels: A file with the probabilities of all classes, or of the only foreground class.
        entropy: Uncertainty of every voxel.
        samples: Label maps.
        classes: What values in the label maps mean.
        ignore: Values in them that mean none of the classes.
        foreign: Whether another tool wrote them.
    """

    labels: Path | None = None
    probabilities: Mapping[str, Path] = field(default_factory=dict)
    channels: Path | None = None
    entropy: Path | None = None
    samples: tuple[Path, ...] = ()
    classes: tuple[ClassDefinition, ...] = ()
    ignore: tuple[int, ...] = ()
    foreign: bool = False

    @property
    def has_probabilities(self) -> bool:
        return bool(self.probabilities) or self.channels is not None


@dataclass(frozen=True)
class PredictionFolder:
    """The cases in a folder, and the split that was predicted as a whole, if that is known."""

    path: Path
    cases: Mapping[str, CaseFiles]
    split: str | None = None

    def require(self, cases: list[Case]) -> None:
        """Refuse what would give a part of the scores.

        Raises:
            DatasetError: A case has no prediction, or only some cases have probabilities or all their samples.
        """
        missing = [case.id for case in cases if case.id not in self.cases]
        if missing:
            known = list(self.cases)
            found = f" (it has {_few(known)})" if known and len(missing) == len(cases) else ""
            raise DatasetError(
                f"No prediction of {counted(missing, cases)} found in {self.path}{found}. Name the split that "
                "was predicted with --split; or predict them and name the files as the cases."
            )
        bare = [case.id for case in cases if not self.cases[case.id].has_probabilities]
        if 0 < len(bare) < len(cases):
            raise DatasetError(
                f"No probabilities of {counted(bare, cases)} found in {self.path}, though of the others. Add them, or "
                "remove all of them to score labels."
            )
        numbers = {len(self.cases[case.id].samples): case.id for case in cases}
        if len(numbers) > 1:
            (fewest, few), (most, many) = min(numbers.items()), max(numbers.items())
            raise DatasetError(
                f"{number_of(fewest, 'sample')} of {few} and {most} of {many} found in {self.path}, the same "
                "number for all cases expected: it changes every score. Draw as many for each."
            )

    def samples_of(self, cases: list[Case]) -> int:
        """How many samples every case has."""
        return len(self.cases[cases[0].id].samples)


def find_predictions(folder: Path, index: DatasetIndex, label_values: LabelValues = "file") -> PredictionFolder:
    """Look which files are there; none is opened but ``predictions.json``.

    Args:
        folder: With ``predictions.json``, or laid out as this file says.
        index: The data set.
        label_values: What label maps of other tools hold: values as in annotation files (``file``), or 0, 1, 2 in
            the order of the classes (``index``).

    Raises:
        DatasetError: Unreadable, or two files for one thing.
        TaskError: The predictions are of other classes than the data set.
        ConfigError: ``label_values`` where ``predictions.json`` says what they mean.
    """
    manifest = folder / MANIFEST
    try:
        if manifest.is_file():
            if label_values != "file":
                raise ConfigError(
                    f"--label-values {label_values} found with {manifest}, which says itself what values mean. Leave "
                    "it out."
                )
            return _read_manifest(manifest, index)
        return _look(folder, index, label_values)
    except OSError as error:
        raise DatasetError(f"No predictions could be read from {folder}: {error.strerror}. Check the path.") from None


def counted(ids: list[str], cases: list[Case]) -> str:
    """``2 of 12 cases (a, b)``."""
    return f"{len(ids)} of {len(cases)} cases ({named(ids)})"


def named(ids: list[str]) -> str:
    """``a, b``; of many the first ones, and how many there are besides."""
    more = len(ids) - NAMED_CASES
    return ", ".join(ids[:NAMED_CASES]) + (f" and {more} more" if more > 0 else "")


class _Entry(BaseModel):
    """Of one case in ``predictions.json``. The probabilities of the background are not read."""

    labels: Path
    probabilities: dict[str, Path] = {}
    entropy: Path | None = None
    samples: tuple[Path, ...] = ()


class _Manifest(BaseModel):
    """What evaluation reads of ``predictions.json``."""

    format: Literal["umanet-predictions"]
    version: Literal[1]
    classes: tuple[ClassDefinition, ...]
    ignore: tuple[int, ...] = ()
    split: str | None = None
    cases: dict[str, _Entry]


def _read_manifest(path: Path, index: DatasetIndex) -> PredictionFolder:
    try:
        manifest = _Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise DatasetError(f"{where} in {path}: {problem['msg']}. Run the prediction again.") from None
    names = tuple(definition.name for definition in manifest.classes)
    if names != index.task.classes:
        raise TaskError(
            f"Classes {', '.join(names)} found, {', '.join(index.task.classes)} expected, in "
            f"{path}. Evaluate with a data set like the one that the model was trained on."
        )
    folder = path.parent
    files = {
        case: CaseFiles(
            labels=folder / entry.labels,
            probabilities={name: folder / file for name, file in entry.probabilities.items()},
            entropy=None if entry.entropy is None else folder / entry.entropy,
            samples=tuple(folder / file for file in entry.samples),
            classes=manifest.classes,
            ignore=manifest.ignore,
        )
        for case, entry in manifest.cases.items()
    }
    return PredictionFolder(folder, files, manifest.split)


def _look(folder: Path, index: DatasetIndex, label_values: LabelValues) -> PredictionFolder:
    place = folder / "labels" if (folder / "labels").is_dir() else folder
    labels, packed = _by_case(place, SUFFIXES), _by_case(place, (NPZ,))
    maps = _maps_by_class(folder / "probabilities", index)
    channels = _files_in(folder / "probabilities", SUFFIXES) | packed
    entropy = _files_in(folder / "entropy", SUFFIXES)
    draws = [_by_case(path, SUFFIXES) for path in _folders_in(folder / "samples")]
    classes = index.classes
    if label_values == "index":
        classes = tuple(ClassDefinition(name=c.name, values=(k,)) for k, c in enumerate(classes))
    cases = {
        case: CaseFiles(
            labels=labels.get(case),
            probabilities={name: files[case] for name, files in maps.items() if case in files},
            channels=channels.get(case),
            entropy=entropy.get(case),
            samples=tuple(files[case] for files in draws if case in files),
            classes=classes,
            foreign=True,
        )
        for case in {**labels, **channels, **{case: None for files in maps.values() for case in files}}
    }
    return PredictionFolder(folder, cases)


def _maps_by_class(folder: Path, index: DatasetIndex) -> dict[str, dict[str, Path]]:
    """Class to case to map."""
    known = index.task.classes
    for path in _folders_in(folder):
        if path.name not in known:
            raise TaskError(
                f"Probabilities of {path.name!r} found, of {', '.join(known)} expected, in {folder}."
                f"{did_you_mean(path.name, known)} Name the folders as the classes."
            )
    return {path.name: _by_case(path, SUFFIXES) for path in _folders_in(folder)}


def _by_case(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.lower().endswith(suffixes) or path.name.startswith("."):
            continue
        case = path.name[: -len(NPZ)] if suffixes == (NPZ,) else stem_of(path)
        if case in found:
            raise DatasetError(f"{found[case].name} and {path.name} found, one expected, in {folder}. Remove one.")
        found[case] = path
    return found


def _files_in(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    return _by_case(folder, suffixes) if folder.is_dir() else {}


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
