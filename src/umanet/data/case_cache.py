"""Prepared cases in files that are mapped into memory: read where a patch needs them, shared by all processes.

A file is named by all that its content depends on: the bytes of the case's files, what the data set says they mean,
the working grid, and the version of this format. So none is ever out of date, and files of another version are not
opened. They appear whole or not at all: two processes may prepare the same case, and one may be killed at it.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from umanet.config import DataOptions
from umanet.data.dicom import series_files
from umanet.data.files import replace_file
from umanet.data.formats import DICOM, suffix_of
from umanet.data.index import DatasetIndex
from umanet.data.prepared_case import PreparedCase
from umanet.errors import OutputError
from umanet.types import Case, Geometry

VERSION = 1
"""Of the format, and of what preparing and fusing do: with another one, cases are prepared anew."""
A_DAY = 24 * 3600
HEADERS = (".mhd", ".nhdr")
"""Types whose data lie in other files, which they name."""
log = logging.getLogger("umanet")


class CaseCache:
    """A folder of prepared cases, and of targets of them.

    Args:
        folder: Made when the first case is kept. Several data sets, runs and machines may share it.
        index: The data set.
        options: Those for the working grid count.

    Attributes:
        refuses: Whether nothing could be written the last time.
    """

    def __init__(self, folder: Path, index: DatasetIndex, options: DataOptions):
        self.folder, self.index, self.refuses = folder, index, False
        self.meaning = [
            VERSION, index.spatial_dims, index.channels, [c.values for c in index.classes], index.annotators,
            index.ignore, options.longest_side, options.spacing, options.size, options.normalise,
        ]  # fmt: skip

    def tidy(self) -> None:
        """Remove half files that killed processes left a day ago; say where there are cases of another version.

        Raises:
            OutputError: The place is no folder.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"A file found at {self.folder}, a folder for prepared cases expected. Mend data.cache.")
        for half in self.folder.glob("v*/.writing-*"):
            with suppress(OSError):  # another process may have been faster
                if half.stat().st_mtime < time.time() - A_DAY:
                    half.unlink()
        others = [place for place in self.folder.glob("v*") if place.name != f"v{VERSION}"]
        if others:
            log.warning(
                "Prepared cases of another version of umanet found, of which none is used: %s. Delete them to free "
                "space.",
                ", ".join(map(str, sorted(others))),
            )

    def digest(self, case: Case) -> str:
        """Of all that a prepared case depends on; reads the case's files.

        Raises:
            OSError, ImageError: One of them cannot be read.
        """
        paths: list[Any] = [case.image, case.truth and [case.truth]]
        paths += [name in case.annotations and [case.annotations[name]] for name in self.index.annotators]
        files = [of and [_digest(file) for path in of for file in _files(path)] for of in paths]
        return _short([self.meaning, files])

    def read(self, digest: str, case: Case) -> PreparedCase | None:
        """A case that is kept, without target, its tensors mapped; None where there is none that can be read."""
        found = self._read(digest)
        if found is None:
            return None
        tensors, words = found
        shape, spacing, known, suffix, clip = json.loads(words["about"])
        geometry = Geometry(tuple(shape), tuple(spacing), known, suffix=suffix)
        return PreparedCase(case=case.id, clip=clip, geometry=geometry, **tensors)  # type: ignore[arg-type]  # of tensors

    def keep(self, digest: str, prepared: PreparedCase) -> None:
        """Write a case down that has no target.

        Raises:
            OutputError: The folder cannot be written to, or the disk is full.
        """
        where = prepared.geometry
        about = [where.shape, where.spacing, where.spacing_is_known, where.suffix, prepared.clip]
        tensors = {name: value for name, value in vars(prepared).items() if isinstance(value, Tensor)}
        self._keep(digest, tensors, {"about": json.dumps(about)})

    def read_target(self, digest: str, made_by: str) -> Tensor | None:
        """The target of a case that is kept, of those that were ``made_by`` the same."""
        found = self._read(_short([digest, made_by]))
        return None if found is None else found[0]["target"]

    def keep_target(self, digest: str, made_by: str, target: Tensor) -> None:
        """Write the target of a case down, and what made it.

        Raises:
            OutputError: As ``keep``.
        """
        self._keep(_short([digest, made_by]), {"target": target}, {})

    def _path(self, name: str) -> Path:
        return self.folder / f"v{VERSION}" / f"{name}.safetensors"

    def _keep(self, name: str, tensors: dict[str, Tensor], words: dict[str, str]) -> None:
        # Through memory: the error of a full disk is then the system's own.
        replace_file(self._path(name), save({key: value.contiguous() for key, value in tensors.items()}, words))

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        try:
            with safe_open(self._path(name), framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118  # no mapping
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be read (%s): the case is prepared anew.", self._path(name), error)
            return None


def _files(path: Path) -> Iterator[Path]:
    """Those whose bytes make an image, itself included."""
    suffix = suffix_of(path)
    if suffix == DICOM:
        yield from series_files(path)
        return
    yield path
    if suffix in HEADERS:
        text = path.read_text(encoding="utf-8", errors="replace")
        if "%" in text:  # a pattern of numbered files
            yield from sorted(other for other in path.parent.iterdir() if other.is_file())
        for line in text.splitlines():
            named = path.parent / line.replace("=", ":").rpartition(":")[2].strip()
            if named.is_file():
                yield named


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
