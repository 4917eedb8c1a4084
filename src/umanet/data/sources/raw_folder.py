"""What every source meets: the folder that a user names, what cannot be used in it, and where converted files go."""

import logging
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

from umanet.data.files import new_folder
from umanet.data.formats import listed
from umanet.data.images import read_image_values
from umanet.errors import DatasetError, OutputError, UmanetError, counted, did_you_mean
from umanet.types import Case, Geometry

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
HALF_DOWNLOADS = (".part", ".crdownload", ".download", ".partial", ".aria2")
Name = TypeVar("Name", bound=str | tuple[object, ...])
log = logging.getLogger("umanet")


def raw_folder(root: Path, holds: str) -> Path:
    """``root``, absolute, if it is a folder with files that are all there.

    Args:
        root: As the user gave it.
        holds: What the source expects in it, for messages: ``"the folders Training and Validation"``.

    Raises:
        DatasetError: No folder, an archive, an empty folder, only archives, or the marks of a half download.
    """
    root = Path(root).resolve() if ".." in Path(root).parts else Path(root).absolute()
    if root.is_file() and root.name.lower().endswith(ARCHIVES):
        raise DatasetError(
            f"An archive found at {root}, a folder with {holds} expected. Unpack it, and name the folder."
        )
    if not root.is_dir():
        kind = "A file" if root.exists() else "No folder"
        raise DatasetError(f"{kind} found at {root}, a folder with {holds} expected. Check the path.")
    entries = listed(root)
    if not entries:
        raise DatasetError(f"An empty folder found at {root}, {holds} expected. Check the path.")
    if all(path.name.lower().endswith(ARCHIVES) for path in entries):
        raise DatasetError(
            f"Only archives found in {root}: {entries[0].name}; {holds} expected. Unpack them into this folder."
        )
    half = next((path for path in root.rglob("*") if path.name.lower().endswith(HALF_DOWNLOADS)), None)
    if half is not None:
        raise DatasetError(f"The half download {half} found, {holds} expected. Finish or remove it.")
    return root


def folder_in(parent: Path, name: str) -> Path:
    """The folder ``name`` of a layout.

    Raises:
        DatasetError: It is not there; the message names the folders that are, and the nearest.
    """
    folder = parent / name
    if folder.is_dir():
        return folder
    found = [path.name for path in listed(parent) if path.is_dir()]
    inside = f"only {', '.join(found[:8])}" if found else "no folder at all"
    raise DatasetError(
        f"No folder {name!r} found in {parent}, {inside}; it is expected there.{did_you_mean(name, found)} "
        "Give the folders the names that they have in the official download."
    )


class Unusable:
    """What cannot be used of raw data, collected, so that one import names all of it and stops at none.

    ::

        unusable = Unusable(leave_out=leave_out)
        for case in found:
            with unusable.collected(case.name):
                cases.append(convert(case))
        unusable.settle(found)
    """

    def __init__(self, *, leave_out: bool):
        self.leave_out = leave_out
        self.messages: list[str] = []

    def add(self, what: str, message: str) -> None:
        """Something that is wrong with ``what``: a case, or a case and an annotator."""
        self.messages.append(f"{what}: {message}")
        log.warning("%s", self.messages[-1])

    @contextmanager
    def collected(self, what: str) -> Iterator[None]:
        """The block may raise an ``UmanetError``: it is said and counted.

        Raises:
            OutputError: A file could not be written. That is no fault of the raw data, and the next would fail too.
        """
        try:
            yield
        except OutputError:
            raise
        except UmanetError as error:
            self.add(what, str(error))

    def settle(self, things: str = "annotations and cases") -> None:
        """Refuse, unless what is unusable may be left out; then say how much that is.

        Raises:
            DatasetError: Something was collected, and ``leave_out`` is False.
        """
        if self.messages and not self.leave_out:
            raise DatasetError(
                f"{counted(len(self.messages), 'fault')} found in the raw data and named above, usable {things} "
                "expected. Mend them, or give --leave-out to go on without what they concern."
            )
        if self.messages:
            log.warning("%s named above: left out, with all that it concerns.", counted(len(self.messages), "fault"))


def one_each(named: Iterable[tuple[Name, Path]], unusable: Unusable) -> dict[Name, Path]:
    """By name, without those of which there are several files: which of them is meant, nobody can tell."""
    found: dict[Name, list[Path]] = defaultdict(list)
    for name, path in named:
        found[name].append(path)
    for name, paths in found.items():
        if len(paths) > 1:
            what = name if isinstance(name, str) else ", ".join(map(str, name))
            unusable.add(what, f"{' and '.join(map(str, paths))} found, one of them expected. Remove the others.")
    return {name: paths[0] for name, paths in found.items() if len(paths) == 1}


def require_cases(cases: Iterable[object], root: Path, holds: str) -> None:
    """Refuse a folder in which no case was found.

    Raises:
        DatasetError: ``cases`` is empty.
    """
    if not any(True for _ in cases):
        raise DatasetError(f"No case found in {root}, {holds} expected. Check the path and that all was unpacked.")


def first_image(cases: Sequence[Case]) -> tuple[Float32[np.ndarray, "C *spatial"], Geometry]:
    """The first image that can be read. Those before it are named, and left to ``umanet check`` as all others are.

    Raises:
        ImageError, GeometryError: No image can be read; the first one's reason.
    """
    reasons: list[UmanetError] = []
    for case in cases:
        try:
            found = read_image_values(case.image, None)
        except UmanetError as error:
            reasons.append(error)
        else:
            break
    else:
        raise reasons[0]
    for case, reason in zip(cases, reasons, strict=False):
        log.warning("%s: %s", case.id, reason)
    return found


@contextmanager
def files_beside(output: Path) -> Iterator[Path]:
    """The folder for files that are converted on the way to ``output``: ``OUTPUT-files`` beside ``OUTPUT.json``.

    It need not be made. Where the block fails, all of it is removed.

    Raises:
        OutputError: The folder holds something already.
    """
    files = output.absolute().with_name(f"{output.stem}-files")
    existed = files.exists()
    if existed:
        new_folder(files)
    try:
        yield files
    except BaseException:
        if files.is_dir():
            shutil.rmtree(files, ignore_errors=True)
        raise
