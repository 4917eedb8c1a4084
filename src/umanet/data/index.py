"""``dataset.json``: which cases, annotators, classes and splits a data set has."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, ValidationError, model_serializer, model_validator

from umanet.data.files import whole_file
from umanet.errors import DatasetError, did_you_mean
from umanet.types import IGNORE, Case, Task

FORMAT = "umanet-dataset"
VERSION = 1
SPLITS = ("train", "validation", "test")

SAFE_NAME = re.compile(r"\w(?:[\w .+=@-]*[\w+=@-])?")
"""Names become parts of file names: no separators, no leading dot, no space around."""

CODE = r"[^:]{1,16}:[^:]{1,16}:[^:]{1,64}"
"""A DICOM coded concept, ``SCHEME:VALUE:MEANING``, each part as long as DICOM allows."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassDefinition(_Entry):
    """A class and the values in annotation files that mean it.

    Attributes:
        name: ``background`` for the first class, by custom.
        values: The first is the one that is written to label maps.
        code: What the class is as a DICOM coded concept, ``SCHEME:VALUE:MEANING``; for DICOM outputs. None: its
            name says it.
    """

    name: str
    values: tuple[int, ...] = Field(min_length=1)
    code: str | None = Field(default=None, pattern=f"^{CODE}$")

    @model_serializer(mode="wrap")
    def _without_absent_code(self, serialize: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        values = serialize(self)
        return values if self.code else {key: value for key, value in values.items() if key != "code"}


class SplitProvenance(_Entry):
    """How the splits came about, so that they can be made again."""

    method: str
    seed: int
    fractions: dict[str, float]


class DatasetIndex(_Entry):
    """A data set: what is annotated by whom, and where the files are.

    Attributes:
        name: Free text.
        spatial_dims: 2 or 3.
        channels: Names of the image channels, in order.
        classes: Index 0 is the background; file value 0 belongs to it.
        annotators: In the order of the axis ``R``; a case may lack any of them.
        annotators_are_identified: False where an annotator's name is not one person across cases.
        annotator_classes: For annotators who draw only some classes, the names of these. Their background then means
            "none of these". Annotators who are not in it draw all classes.
        ignore: File values of voxels of which an annotation says nothing.
        splits: Where the splits of the cases come from; None where there are none or somebody else made them.
        cases: With absolute paths.
    """

    name: str = "dataset"
    spatial_dims: Literal[2, 3]
    channels: tuple[str, ...] = Field(min_length=1)
    classes: tuple[ClassDefinition, ...] = Field(min_length=2, max_length=IGNORE)
    annotators: tuple[str, ...] = ()
    annotators_are_identified: bool = True
    annotator_classes: dict[str, tuple[str, ...]] = {}
    ignore: tuple[int, ...] = ()
    splits: SplitProvenance | None = None
    cases: tuple[InstanceOf[Case], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "DatasetIndex":
        _check_names("channel", self.channels)
        _check_names("class", (c.name for c in self.classes))
        _check_names("annotator", self.annotators)
        _check_names("case", (case.id for case in self.cases))
        _check_classes(self.classes)
        _check_ignored(self.ignore, self.classes)
        _check_annotator_classes(self.annotator_classes, self.annotators, self.classes)
        for case in self.cases:
            _check_case(case, self.annotators)
        return self

    @property
    def task(self) -> Task:
        return Task(
            self.spatial_dims,
            self.channels,
            tuple(c.name for c in self.classes),
            self.annotators,
            self.annotators_are_identified,
            tuple(self.drawn_by(name) for name in self.annotators) if self.annotator_classes else (),
        )

    def drawn_by(self, annotator: str) -> tuple[int, ...]:
        """The foreground classes that an annotator draws, ascending."""
        names = self.annotator_classes.get(annotator)
        return tuple(k for k, c in enumerate(self.classes) if k > 0 and (names is None or c.name in names))

    def without_cases(self) -> "DatasetIndex":
        """What holds for every case: small, to go to other processes with one of them."""
        return self.model_copy(update={"cases": ()})

    def select(self, split: str | None = None) -> list[Case]:
        """The cases of a split, in the order of the index; all of them for None. May be empty.

        Raises:
            DatasetError: No such split name.
        """
        if split is not None and split not in SPLITS:
            raise DatasetError(
                f"Split {split!r} found, one of {', '.join(SPLITS)} expected.{did_you_mean(split, SPLITS)}"
            )
        return [case for case in self.cases if split is None or case.split == split]


class _CaseEntry(_Entry):
    """A case as it stands in the file: paths relative to the file's folder, with forward slashes."""

    id: str
    image: tuple[str, ...]
    annotations: dict[str, str] = {}
    truth: str | None = None
    patient: str | None = None
    split: str | None = None
    dates: dict[str, date] = {}

    def case(self, folder: str) -> Case:
        return Case(
            id=self.id,
            image=tuple(_absolute(folder, path) for path in self.image),
            annotations={name: _absolute(folder, path) for name, path in self.annotations.items()},
            truth=None if self.truth is None else _absolute(folder, self.truth),
            patient=self.patient or self.id,
            split=self.split,
            dates=self.dates,
        )


def read_index(path: Path) -> DatasetIndex:
    """Read ``dataset.json``. The files that it lists are not opened: ``umanet.data.check`` does that.

    Raises:
        DatasetError: Unreadable, another format, unknown keys, or contents that contradict each other.
    """
    path = Path(path)
    _refuse_folder(path)
    values = _read_json(path)
    found = (values.pop("format", None), values.pop("version", None))
    if found != (FORMAT, VERSION):
        raise DatasetError(
            f"Format {found[0]!r} version {found[1]!r} found, {FORMAT!r} version {VERSION} expected, in {path}. Make "
            "the file with `umanet import`."
        )
    folder = str(path.resolve().parent)
    try:
        entries = values.get("cases")
        if isinstance(entries, list):
            values["cases"] = [_case(number, entry, folder) for number, entry in enumerate(entries)]
        return DatasetIndex.model_validate(values)
    except ValidationError as error:
        raise DatasetError(f"{_explain(error, DatasetIndex)} In {path}.") from None
    except DatasetError as error:
        raise DatasetError(f"{error} In {path}.") from None


def write_index(index: DatasetIndex, path: Path) -> None:
    """Write ``dataset.json``, with paths relative to its folder. ``read_index`` gives the same index back.

    Raises:
        OutputError: The file cannot be written.
    """
    path = Path(path)
    folder = str(path.resolve().parent)
    values = {"format": FORMAT, "version": VERSION, **index.model_dump(mode="json", exclude={"cases"})}
    values = {key: value for key, value in values.items() if value or key not in ("annotator_classes", "ignore")}
    values["cases"] = [_case_values(case, folder) for case in index.cases]
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=2, ensure_ascii=False)
        file.write("\n")


def fingerprint(index: DatasetIndex) -> str:
    """SHA-256 of what a run depends on: the task, and which files of which case are in which split."""
    cases = [
        (case.id, case.split, case.patient, [path.name for path in case.image], sorted(case.annotations))
        for case in index.cases
    ]
    return hashlib.sha256(json.dumps([asdict(index.task), cases]).encode()).hexdigest()


def require_trainable(index: DatasetIndex, split: str = "train") -> list[Case]:
    """The cases of a split, each with at least one annotation.

    Raises:
        DatasetError: The split is empty, or has cases that nobody annotated.
    """
    cases = index.select(split)
    if not cases:
        sizes = Counter(case.split or "none" for case in index.cases)
        found = ", ".join(f"{name}: {count}" for name, count in sizes.items())
        raise DatasetError(
            f"No case in split {split!r} of {index.name!r}, at least one expected (cases per split: {found}). Make "
            "splits with `umanet import`, or set `split` of the cases in dataset.json."
        )
    bare = [case.id for case in cases if not case.annotations]
    if bare:
        raise DatasetError(
            f"{len(bare)} of {len(cases)} cases without any annotation found in split {split!r} of {index.name!r}, "
            f"none expected: {_some(bare)}. Add annotations or take the cases out of the split."
        )
    return cases


def _check_names(kind: str, names: Iterable[str]) -> None:
    names = list(names)
    for name in names:
        if not SAFE_NAME.fullmatch(name):
            raise DatasetError(
                f"The {kind} name {name!r} found; letters, digits and any of ' _.+=@-' expected, because it becomes "
                "part of a file name. Rename it."
            )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DatasetError(
            f"The {kind} {twice[0]!r} is listed {names.count(twice[0])} times, once expected. Rename one."
        )


def _check_classes(classes: tuple[ClassDefinition, ...]) -> None:
    owner: dict[int, str] = {}
    for definition in classes:
        for value in definition.values:
            if value in owner:
                raise DatasetError(
                    f"File value {value} found in classes {owner[value]!r} and {definition.name!r}, one class per "
                    "value expected. Remove it from one."
                )
            owner[value] = definition.name
    if owner.get(0) != classes[0].name:
        raise DatasetError(
            f"File value 0 found in class {owner.get(0)!r}, the first class {classes[0].name!r} expected: class 0 is "
            "the background. Reorder the classes or their values."
        )


def _check_ignored(ignore: tuple[int, ...], classes: tuple[ClassDefinition, ...]) -> None:
    for definition in classes:
        both = [value for value in definition.values if value in ignore]
        if both:
            raise DatasetError(
                f"File value {both[0]} found in `ignore` and in class {definition.name!r}, one of them expected. "
                "Remove it from one."
            )


def _check_annotator_classes(
    named: Mapping[str, tuple[str, ...]], annotators: tuple[str, ...], classes: tuple[ClassDefinition, ...]
) -> None:
    foreground = [definition.name for definition in classes[1:]]
    for annotator, names in named.items():
        if annotator not in annotators:
            raise DatasetError(
                f"Annotator {annotator!r} found in `annotator_classes`, one of {', '.join(annotators)} expected."
                f"{did_you_mean(annotator, annotators)}"
            )
        unknown = [name for name in names if name not in foreground]
        if unknown or not names:
            found = f"Class {unknown[0]!r}" if unknown else "No class"
            raise DatasetError(
                f"{found} found in `annotator_classes` of {annotator!r}, any of {', '.join(foreground)} expected."
                f"{did_you_mean(unknown[0], foreground) if unknown else ''}"
            )


def _check_case(case: Case, annotators: tuple[str, ...]) -> None:
    if not case.image:
        raise DatasetError(f"No image found for case {case.id!r}, one file or one per channel expected. Add it.")
    if case.split is not None and case.split not in SPLITS:
        raise DatasetError(
            f"Split {case.split!r} found, one of {', '.join(SPLITS)} or null expected, for case {case.id!r}."
            f"{did_you_mean(case.split, SPLITS)}"
        )
    for name in case.annotations:
        if name not in annotators:
            raise DatasetError(
                f"Annotator {name!r} of case {case.id!r} found, one of {', '.join(annotators) or 'no annotators'} "
                f"expected.{did_you_mean(name, annotators)} Add it to `annotators` or rename it."
            )
    for name in case.dates:
        if name not in case.annotations:
            raise DatasetError(
                f"A date of {name!r} found for case {case.id!r}, one who annotated it expected. Remove the date."
            )


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        inside = path / "dataset.json"
        mend = f"Name {inside}" if inside.is_file() else "Make one with `umanet import`"
        raise DatasetError(f"A folder found at {path}, a dataset.json expected. {mend}.")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except OSError as error:
        raise DatasetError(f"No data set could be read from {path}: {error.strerror}. Check the path.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        if path.suffix != ".json":
            raise DatasetError(
                f"{path.name!r} found, a dataset.json expected, at {path}. Make one of a folder with `umanet import`."
            ) from None
        raise DatasetError(f"{path} is not valid JSON: {error}. Mend the file.") from None
    except DatasetError as error:
        raise DatasetError(f"{error} In {path}.") from None
    if not isinstance(values, dict):
        raise DatasetError(f"A {type(values).__name__} found, an object with {FORMAT!r} expected, in {path}.")
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON objects, where a key that comes twice (an annotator named twice) is an error, not the last one."""
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    keys = Counter(key for key, _ in pairs)
    raise DatasetError(
        f"The key {max(keys, key=keys.__getitem__)!r} is named twice in the object that has the keys "
        f"{_some(list(keys))}; once expected. Remove or rename one."
    )


def _case(number: int, entry: Any, folder: str) -> Case:
    try:
        return _CaseEntry.model_validate(entry).case(folder)
    except ValidationError as error:
        name = entry.get("id", number) if isinstance(entry, Mapping) else number
        raise DatasetError(f"{_explain(error, _CaseEntry)} In case {name!r}.") from None


def _case_values(case: Case, folder: str) -> dict[str, Any]:
    values = {
        "id": case.id,
        "image": [_relative(folder, path) for path in case.image],
        "annotations": {name: _relative(folder, path) for name, path in case.annotations.items()},
        "truth": None if case.truth is None else _relative(folder, case.truth),
        "patient": case.patient or case.id,
        "split": case.split,
    }
    if case.dates:
        values["dates"] = {name: day.isoformat() for name, day in case.dates.items()}
    return values


# Both in strings: paths are a hundred thousand times a dozen, and slow to take apart.
def _absolute(folder: str, path: str) -> Path:
    return Path(os.path.normpath(os.path.join(folder, path)))  # noqa: PTH118


def _relative(folder: str, path: Path) -> str:
    if str(path).startswith(folder + os.sep) and os.sep + ".." not in str(path):
        return path.as_posix()[len(folder) + 1 :]
    return Path(os.path.relpath(path.absolute(), folder)).as_posix()


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    problem = error.errors()[0]
    name = ".".join(map(str, problem["loc"])) or "the entry"
    if problem["type"] == "extra_forbidden":
        known = list(model.model_fields)
        hint = did_you_mean(str(problem["loc"][-1]), known)
        return f"Unknown key {name!r} found.{hint or f' Known keys: {_some(known)}.'}"
    if problem["type"] == "missing":
        return f"The key {name!r} is missing. Add it."
    return f"{name} = {problem['input']!r} found: {problem['msg']}. Mend it."


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
