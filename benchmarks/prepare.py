"""Data sets for the suites of ``suites/``, in the folder that is their ``--root``.

``readers``: LIDC nodules, 2D and 3D, and CHASE_DB1, which people annotated. ``phantoms``: images that are drawn here,
in the families of the paper, so that their truth is known. What is there already is not made again.
"""

import json
import logging
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from readers import LAYOUTS, LIDC, SPLIT, crop_centres

from umanet.algorithms import annotate
from umanet.algorithms.annotate import Drawing
from umanet.data.files import replace_file, whole_folder
from umanet.data.index import DatasetIndex, read_index, write_index
from umanet.data.nifti import write_nifti
from umanet.data.sources import breast_dce as breast_dce_source
from umanet.data.sources import folder, qubiq
from umanet.data.splits import complete_splits
from umanet.errors import DatasetError, UmanetError
from umanet.simulation import annotate_case, brain_tumour, breast_dce, fundus, write_phantoms
from umanet.simulation.phantoms.breast_dce import SPACING_MM
from umanet.simulation.scenarios import find_scenario, generator
from umanet.types import Geometry

CASES = 150
FRACTIONS = {"train": 0.5, "validation": 0.1, "test": 0.4}
"""Of phantoms. The suite, which simulates annotators of chest X-rays and fundus photographs, has the same numbers."""
SIZE = 128
"""Pixels a side of phantoms in 2D."""
PIXEL_MM = (1.5, 1.5, 1.5)
"""Of the slices of the brain, which is about 170 mm long then."""
ALGORITHMS = ("otsu", "multi-otsu", "kmeans", "region-growing", "watershed", "chan-vese")
DRAWING = Drawing(smooth=1.5, keep="largest")
TASKS = {1: "hard", 2: "mild", 3: "annotators-3"}
"""Of brain-tumor: the whole tumour, its core, what enhances; each is drawn by annotators of its own."""
GREY = 1000
"""Value of 1 in files of whole numbers."""


def prepare_readers(data: Path, output: Path) -> None:
    """Write ``lidc-2d.json``, ``lidc-3d.json`` and ``chase-db1.json``, with splits by patient.

    LIDC is cut to the pixels in the middle, in a copy in ``output``; photographs stay where they are.

    Raises:
        DatasetError: A folder is missing; nothing is written then.
    """
    missing = [str(data / name) for name in LAYOUTS if not (data / name).is_dir()]
    if missing:
        raise DatasetError(
            f"No folder found at {', '.join(missing)}; {', '.join(LAYOUTS)} expected in {data}. Check --data."
        )
    for done, (name, layout) in enumerate(LAYOUTS.items(), start=1):
        root = crop_centres(data / name, output / name) if layout is LIDC else data / name
        index = folder.index(root, fractions=SPLIT, name=name, **layout)
        write_index(index, output / f"{name}.json")
        show_done("data sets", done, len(LAYOUTS))


def prepare_phantoms(output: Path, cases: int, seed: int) -> None:
    """Write ``chest-xray/`` and ``fundus/`` (images and truth), ``breast-dce.json`` and ``brain-tumor-TASK.json``.

    Raises:
        DatasetError: The phantoms in ``output`` are others.
    """
    made: dict[str, Callable[[Path], None]] = {
        "chest-xray": partial(write_phantoms, cases=cases, size=SIZE, seed=seed),
        "fundus": partial(write_phantoms, cases=cases, size=SIZE, seed=seed, draw=fundus),
        "breast-dce": partial(_write_breasts, cases=cases, seed=seed),
        "brain-tumor": partial(_write_brains, cases=cases, seed=seed),
    }
    for name, write in made.items():
        _write_once(output / name, {"cases": cases, "seed": seed}, write)
        show_done(name, cases, cases)
    _index_breasts(output, seed)
    _index_brains(output, seed)


def _write_once(place: Path, settings: dict[str, int], write: Callable[[Path], None]) -> None:
    """Write a folder, all of it or nothing, unless it is there with these settings."""
    note = "phantoms.json"
    if (place / note).exists():
        found = json.loads((place / note).read_text())
        if found != settings:
            raise DatasetError(f"Phantoms with {found} found in {place}, {settings} expected. Choose another output.")
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(place) as whole:
        write(whole)
        replace_file(whole / note, (json.dumps(settings) + "\n").encode())


def _write_breasts(place: Path, cases: int, seed: int) -> None:
    """In the layout of MAMA-MIA, without its segmentations; and the truth."""
    for done, name in enumerate(_names("phantom", cases)):
        show_done("breast-dce", done, cases)
        phases, labels = breast_dce(generator(seed, "phantom breast", name))
        geometry = _grid(labels.shape, SPACING_MM)
        for number, phase in enumerate(phases):
            write_nifti(place / "images" / name / f"{name}_{number:04}.nii.gz", _whole(phase), geometry)
        write_nifti(place / "truth" / f"{name}.nii.gz", labels, geometry)


def _index_breasts(output: Path, seed: int) -> None:
    """Annotated by algorithms, which see the subtraction."""
    place = output / "breast-dce"
    if not (place / "annotated").exists():
        index = breast_dce_source.index(place, files=place / "subtractions")
        index = _with_truth(index, "breast phantoms", place / "truth")
        progress = partial(show_done, "breast-dce, annotated")
        annotate(
            index, ALGORITHMS, place / "annotated", drawing=DRAWING, fractions=FRACTIONS, seed=seed, progress=progress
        )
    write_index(read_index(place / "annotated" / "dataset.json"), output / "breast-dce.json")


def _write_brains(place: Path, cases: int, seed: int) -> None:
    """In the layout of QUBIQ, where channels lie along the third axis; and the truth of each task."""
    for done, name in enumerate(_names("case", cases)):
        show_done("brain-tumor", done, cases)
        contrasts, labels = brain_tumour(generator(seed, "phantom brain", name), SIZE)
        contrasts, labels = contrasts[:, ::-1].transpose(2, 1, 0), labels[::-1].T  # right and anterior
        case = place / "brain-tumor" / "Training" / name
        write_nifti(case / "image.nii.gz", _whole(contrasts), _grid(contrasts.shape, PIXEL_MM))
        for task, scenario in TASKS.items():
            truth, geometry = (labels >= task).astype(np.uint8), _grid(labels.shape, PIXEL_MM)
            drawn = annotate_case(truth, find_scenario(scenario), f"{name} task {task}", seed)
            for number, annotation in enumerate(drawn.values(), start=1):
                write_nifti(case / f"task{task:02}_seg{number:02}.nii.gz", annotation, geometry)
            write_nifti(place / f"truth-{task}" / f"Training_{name}.nii.gz", truth, geometry)


def _index_brains(output: Path, seed: int) -> None:
    """A data set for each task, as the importer has them."""
    place = output / "brain-tumor"
    for task in TASKS:
        index = qubiq.index(place / "brain-tumor", place / "files", dataset="brain-tumor", task=str(task))
        index = _with_truth(index, f"brain phantoms, task {task}", place / f"truth-{task}")
        write_index(complete_splits(index, FRACTIONS, seed), output / f"brain-tumor-{task}.json")


def _names(kind: str, cases: int) -> list[str]:
    return [f"{kind}{number:03}" for number in range(1, cases + 1)]


def _with_truth(index: DatasetIndex, name: str, truth: Path) -> DatasetIndex:
    cases = tuple(replace(case, truth=truth / f"{case.id}.nii.gz") for case in index.cases)
    return index.model_copy(update={"name": name, "cases": cases})


def _grid(shape: tuple[int, ...], spacing: Sequence[float]) -> Geometry:
    """Axis-parallel, in RAS+; a slice is a file with one plane."""
    affine = np.diag([*spacing, 1.0])
    whole = (*shape, *(3 - len(shape)) * (1,))
    return Geometry(shape, tuple(spacing[: len(shape)]), True, affine, whole, tuple((axis, 1) for axis in range(3)))


def _whole(image: Any) -> Any:
    return np.rint(GREY * image).astype(np.int16)


def show_done(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def read_arguments() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    readers = kinds.add_parser("readers", help="data sets that people annotated")
    readers.add_argument("--data", type=Path, required=True, help=f"folder with {', '.join(LAYOUTS)}")
    phantoms = kinds.add_parser("phantoms", help="data sets that are drawn here")
    phantoms.add_argument("--cases", type=int, default=CASES, help=f"of each family; the suite asks for {CASES}")
    phantoms.add_argument("--seed", type=int, default=0)
    for kind in (readers, phantoms):
        kind.add_argument("-o", "--output", type=Path, required=True, help="folder to make, the suite's --root")
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    try:
        if arguments.kind == "readers":
            prepare_readers(arguments.data, arguments.output)
        else:
            prepare_phantoms(arguments.output, arguments.cases, arguments.seed)
    except UmanetError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    # Importers warn of what phantoms never had: annotations by experts, an official split.
    logging.getLogger("umanet").setLevel(logging.ERROR)
    main()
