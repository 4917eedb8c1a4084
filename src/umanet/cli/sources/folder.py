from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, final

import tyro

from umanet.cli.classes import parse_classes
from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report
from umanet.errors import ConfigError

if TYPE_CHECKING:
    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class Folder(Source):
    """ROOT/images/CASE.png, ROOT/annotations/ANNOTATOR/CASE.png, and ROOT/truth/CASE.png where the truth is known; any
    file type that is read.
    """

    images: str = "images"
    """Name of the folder of images."""
    annotations: str = "annotations"
    """Name of the folder that has a folder per annotator."""
    truth: str = "truth"
    """Name of the folder of the truth; may be absent."""
    annotator: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=DIR"), tyro.conf.UseAppendAction] = ()
    """A further annotator whose masks lie anywhere, of any tool: --annotator algorithm=masks. May be given again. Names
    of files by --annotation-pattern."""
    image_pattern: str | None = None
    """Regular expression of image names without type, with groups (?P<case>...) and perhaps (?P<channel>...)."""
    annotation_pattern: str | None = None
    """The same for annotations, with a group (?P<case>...)."""
    patient_pattern: str | None = None
    """Regular expression found in case names that gives the patient. Default: every case is a patient."""
    classes: tuple[str, ...] = ()
    """Names and file values, as background=0 lesion=1,255. Default: one class per value that is found, for which all
    annotations are read; where classes are given, only `umanet check` reads them."""
    ignore: tuple[int, ...] = ()
    """File values that say nothing of a voxel: neither background nor a class."""

    def index(self, files: Path, report: Report) -> "DatasetIndex":
        from umanet.data.sources.folder import index

        return index(
            self.root, images=self.images, annotations=self.annotations, truth=self.truth,
            more_annotators=parse_folders(self.annotator),
            image_pattern=self.image_pattern, annotation_pattern=self.annotation_pattern,
            patient_pattern=self.patient_pattern, classes=parse_classes(self.classes), ignore=self.ignore,
        )  # fmt: skip


def parse_folders(texts: tuple[str, ...]) -> dict[str, Path]:
    """``("algorithm=masks",)`` to annotators and their folders.

    Raises:
        ConfigError: Not of that form, or a name twice.
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise ConfigError(f"--annotator {text} found, NAME=FOLDER expected, as in algorithm=masks.")
        if name in found:
            raise ConfigError(f"--annotator {name} found twice, once expected. Rename one.")
        found[name] = Path(folder)
    return found
