"""nnU-Net v2 raw data: ``DatasetXXX_Name`` with ``imagesTr``, ``labelsTr`` and ``dataset.json``; several annotators.

``imagesTr/CASE_0000.nii.gz`` (one file per channel, or one RGB picture), ``labelsTr/CASE.nii.gz``, and for several
annotators, which nnU-Net itself does not read, ``labelsTr_ANNOTATOR/CASE.nii.gz``. Images of ``imagesTs`` with a file
in ``labelsTs`` or ``labelsTs_ANNOTATOR`` are the split ``test``; nnU-Net itself never looks at these.

Quirks: ``dataset.json`` may list the files itself (``dataset``); channels may have one name several times (names say
how to normalise); the label ``ignore`` is no class; labels that are lists are regions, which overlap.

Reference:
    Isensee et al.: nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation. Nature
    Methods 18, 2021. DOI 10.1038/s41592-020-01008-z
"""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from umanet.data.formats import NIFTI, listed
from umanet.data.images import read_image_values
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.sources.folder import patient_of
from umanet.data.sources.names import distinct_names, safe_name
from umanet.data.sources.raw_folder import Unusable, first_image, folder_in, raw_folder, require_cases
from umanet.errors import DatasetError, counted
from umanet.types import Case

HOLDS = "dataset.json, imagesTr with CASE_0000.nii.gz and labelsTr or labelsTr_ANNOTATOR with CASE.nii.gz"
LABELS = "labelsTr"
"""Name of the annotator whose files lie in labelsTr."""
CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
TRAINING, TEST = "Tr", "Ts"
log = logging.getLogger("umanet")


@dataclass
class _Case:
    images: list[Path] = field(default_factory=list)
    drawn: dict[str, Path] = field(default_factory=dict)
    split: str | None = None


def index(
    root: Path,
    *,
    labels_tr: Literal["annotator", "truth", "ignore"] = "annotator",
    patient_pattern: str | None = None,
    classes: Sequence[ClassDefinition] | None = None,
    leave_out: bool = False,
) -> DatasetIndex:
    """Index a raw data set of nnU-Net.

    Args:
        root: The folder ``DatasetXXX_Name``.
        labels_tr: What ``labelsTr`` and ``labelsTs`` (without an annotator's name) are: an annotator called
            ``labelsTr``; the truth; or nothing, where they are a fusion of the annotators beside them.
        patient_pattern: As in ``folder.index``.
        classes: Instead of the labels in ``dataset.json``; needed where these are regions.
        leave_out: Go on without cases and annotations that cannot be used.

    Raises:
        DatasetError: Not of this layout, region-based labels without ``classes``, or anything that is not usable.
        ImageError: No image can be read.
    """
    root = raw_folder(root, HOLDS)
    said = _read_json(root / "dataset.json")
    channels = distinct_names([str(name) for name in _by_number(said, root)])
    labels, ignore = _labels(said, root, given=classes is not None)
    unusable = Unusable(leave_out=leave_out)
    found = _listed_files(said, root, unusable) if "dataset" in said else _files(said, root, unusable)
    found = _usable(found, channels, labels_tr, unusable)
    expected = said.get("numTraining")
    number = sum(case.split is None for case in found.values())
    if isinstance(expected, int) and number != expected and not unusable.messages:
        unusable.add("dataset.json", f"{counted(number, 'training case')} found, numTraining says {expected}.")
    unusable.settle()
    require_cases(found, root, HOLDS)
    folds = _first_fold(root / "splits_final.json")
    found = {name: replace(case, split=case.split or folds.get(name)) for name, case in found.items()}
    cases = [_case(name, case, labels_tr, patient_pattern) for name, case in sorted(found.items())]
    _, geometry = first_image(cases)
    annotators = sorted({name for case in cases for name in case.annotations}, key=lambda name: (name != LABELS, name))
    return DatasetIndex(
        name=safe_name(str(said.get("name") or root.name)),
        spatial_dims=2 if len(geometry.shape) == 2 else 3,
        channels=channels,
        classes=tuple(classes or labels),
        annotators=tuple(annotators),
        ignore=ignore,
        cases=tuple(cases),
    )


def _case(name: str, found: _Case, labels_tr: str, patient_pattern: str | None) -> Case:
    drawn = dict(sorted(found.drawn.items()))
    fused = drawn.pop(LABELS, None) if labels_tr != "annotator" else None
    truth = fused if labels_tr == "truth" else None
    return Case(name, tuple(found.images), drawn, truth, patient_of(name, patient_pattern), found.split)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DatasetError(
            f"No {path.name} found in {path.parent} ({error.strerror}), nnU-Net's description of the data expected. "
            "Name the folder DatasetXXX_Name itself, or use `umanet import folder`."
        ) from None
    except ValueError as error:
        raise DatasetError(f"{path} is not valid JSON: {error}. Mend the file.") from None
    if not isinstance(said, dict) or "labels" not in said or not {"channel_names", "modality"} & set(said):
        keys = ", ".join(list(said)[:8]) if isinstance(said, dict) else "no object"
        raise DatasetError(
            f"The keys {keys} found, channel_names, labels and file_ending of nnU-Net expected, in {path}. Is it the "
            "raw data set of nnU-Net version 2?"
        )
    return said


def _first_fold(path: Path) -> dict[str, str]:
    """Case to split; empty where there is no such file.

    Raises:
        DatasetError: It does not say what nnU-Net's does.
    """
    if not path.is_file():
        return {}
    try:
        folds = json.loads(path.read_text(encoding="utf-8-sig"))
        train, validation = (set(folds[0][part]) for part in ("train", "val"))
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        raise DatasetError(f"No list of folds with train and val found in {path}. Mend or remove it.") from None
    if both := sorted(train & validation):
        raise DatasetError(f"{both[0]!r} found in train and in val of the first fold, in {path}. Mend it.")
    log.info("The first of %s in %s gives the splits.", counted(len(folds), "fold"), path.name)
    return dict.fromkeys(train, "train") | dict.fromkeys(validation, "validation")


def _by_number(said: Mapping[str, Any], root: Path) -> list[Any]:
    names = said.get("channel_names", said.get("modality"))
    if not isinstance(names, dict) or sorted(names) != sorted(str(number) for number in range(len(names))) or not names:
        raise DatasetError(
            f'channel_names {names!r} found, names by number as {{"0": "T1", "1": "T2"}} expected, in '
            f"{root / 'dataset.json'}. Mend the file."
        )
    return [names[str(number)] for number in range(len(names))]


def _labels(said: Mapping[str, Any], root: Path, *, given: bool) -> tuple[list[ClassDefinition], tuple[int, ...]]:
    """The classes (none where they are given), and the value that is ignored."""
    path = root / "dataset.json"
    labels = said["labels"]
    if not isinstance(labels, dict):
        raise DatasetError(f"labels {labels!r} found, names with numbers expected, in {path}. Mend the file.")
    if labels and all(str(key).isdigit() and isinstance(value, str) for key, value in labels.items()):
        labels = {name: int(value) for value, name in labels.items()}  # as version 1 and the Decathlon have them
    ignored = labels.get("ignore")
    ignore = (ignored,) if isinstance(ignored, int) else ()
    if given:
        return [], ignore
    single = {name: _single(value) for name, value in labels.items() if name != "ignore"}
    regions = [name for name, value in single.items() if value is None]
    if regions:
        raise DatasetError(
            f"Region-based labels found ({regions[0]!r} is {labels[regions[0]]!r}), one number per class expected, in "
            f"{path}: regions overlap, classes do not. Say what each value in the files stands for, as --classes "
            "background=0 oedema=1 core=2 enhancing=3."
        )
    numbers = {value: name for name, value in single.items() if value is not None}
    definitions = [ClassDefinition(name=safe_name(numbers[value]), values=(value,)) for value in sorted(numbers)]
    return definitions, ignore


def _single(value: object) -> int | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return int(value) if isinstance(value, (int, str)) and str(value).isdigit() else None


def _files(said: Mapping[str, Any], root: Path, unusable: Unusable) -> dict[str, _Case]:
    ending = _ending(said)
    folder_in(root, "imagesTr")
    found: dict[str, _Case] = {}
    for part in (TRAINING, TEST):
        images = _images(root / f"images{part}", ending, unusable)
        cases = {name: _Case(paths, split="test" if part == TEST else None) for name, paths in images.items()}
        for folder, annotator in _label_folders(root, part):
            for stem, path in _of_type(folder, ending, unusable):
                if stem in cases:
                    cases[stem].drawn[annotator] = path
                else:
                    unusable.add(
                        f"{stem}, {annotator}", f"No image found for {path}, images{part}/{stem}_0000{ending}."
                    )
        if part == TEST:
            _without_labels(cases)
        both = set(cases) & set(found)
        for name in sorted(both):
            unusable.add(name, "Found in imagesTr and in imagesTs, one of them expected. Remove one.")
        found = {**cases, **found}
    return found


def _images(folder: Path, ending: str, unusable: Unusable) -> dict[str, list[Path]]:
    images: dict[str, list[Path]] = defaultdict(list)
    for stem, path in _of_type(folder, ending, unusable):
        match = CHANNEL.fullmatch(stem)
        if match is None:
            unusable.add(path.name, f"No channel number found in {path}, CASE_0000{ending} expected. Rename it.")
        else:
            images[match["case"]].append(path)
    return images


def _ending(said: Mapping[str, Any]) -> str:
    return str(said.get("file_ending", NIFTI[0]))


def _add_labels(
    cases: Mapping[str, _Case], annotator: str, files: Sequence[tuple[str, Path]], unusable: Unusable
) -> None:
    for name, path in files:
        if name in cases:
            cases[name].drawn[annotator] = path
        else:
            unusable.add(f"{name}, {annotator}", f"No image found for {path}, {name}_0000 expected. Add it.")


def _without_labels(cases: dict[str, _Case]) -> None:
    bare = [name for name, case in cases.items() if not case.drawn]
    for name in bare:
        del cases[name]
    if bare:
        log.warning(
            "%s of imagesTs without labels left out: %s and so on. `umanet predict RUN imagesTs` takes such images.",
            counted(len(bare), "case"),
            bare[0],
        )


def _label_folders(root: Path, part: str) -> list[tuple[Path, str]]:
    """Folders of labels of a part with their annotators' names."""
    start = f"labels{part}"
    named = [(path, path.name.removeprefix(start)) for path in listed(root) if path.is_dir()]
    return [
        (path, rest[1:] if rest else LABELS)
        for path, rest in named
        if path.name.startswith(start) and (not rest or (rest.startswith("_") and len(rest) > 1))
    ]


def _of_type(folder: Path, ending: str, unusable: Unusable) -> list[tuple[str, Path]]:
    """The files of a folder with their names without ending; the folder may be absent."""
    found = []
    for path in listed(folder) if folder.is_dir() else ():
        if path.name.endswith(ending):
            found.append((path.name.removesuffix(ending), path))
        elif not (path.suffix == ".json" and ending.startswith(".tif")):  # nnU-Net keeps spacings beside 3D TIFF
            unusable.add(path.name, f"Another type than {ending} found at {path}. Move it away or mend file_ending.")
    return found


def _listed_files(said: Mapping[str, Any], root: Path, unusable: Unusable) -> dict[str, _Case]:
    """What ``dataset`` in dataset.json lists: case to images and label, absolute or relative to the folder."""
    found: dict[str, _Case] = {}
    for name, entry in said["dataset"].items():
        try:
            images, label = [root / path for path in entry["images"]], root / entry["label"]
        except (TypeError, KeyError):
            unusable.add(name, f"{entry!r} found, images and label expected, under `dataset` of dataset.json.")
            continue
        lacking = [path for path in (*images, label) if not path.is_file()]
        for path in lacking:
            unusable.add(name, f"No file found at {path}, which dataset.json lists. Restore it or mend the path.")
        if not lacking:
            found[name] = _Case(images, {LABELS: label})
    for folder, annotator in _label_folders(root, TRAINING):
        if annotator != LABELS:
            _add_labels(found, annotator, _of_type(folder, _ending(said), unusable), unusable)
    return found


def _usable(
    found: Mapping[str, _Case], channels: tuple[str, ...], labels_tr: str, unusable: Unusable
) -> dict[str, _Case]:
    usable: dict[str, _Case] = {}
    for name, case in found.items():
        with unusable.collected(name):
            _require_channels(case.images, channels)
            if not case.drawn or (labels_tr == "ignore" and set(case.drawn) == {LABELS}):
                raise DatasetError("No annotation found, at least one expected. Add it, or move the image away.")
            usable[name] = replace(case, images=sorted(case.images))
    return usable


def _require_channels(images: Sequence[Path], channels: tuple[str, ...]) -> None:
    """Raises: DatasetError: Other files than one per channel, or one file with other channels."""
    numbers = [match["channel"] for path in sorted(images) if (match := CHANNEL.match(path.name))]
    if len(images) == 1 and len(channels) > 1:
        count = len(read_image_values(images, None)[0])
    else:
        complete = numbers == [f"{number:04}" for number in range(len(images))]
        count = len(images) if complete or len(numbers) < len(images) else -1
    if count != len(channels):
        found = counted(count, "channel") if count >= 0 else f"Channels {', '.join(numbers)}"
        raise DatasetError(
            f"{found} found ({', '.join(path.name for path in sorted(images))}), {len(channels)} "
            f"({', '.join(channels)}) expected. Add the files, or mend channel_names."
        )
