import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from umanet.cli.case_parallel import CaseParallel
from umanet.cli.terminal import next_step, print_text, progress, say

if TYPE_CHECKING:
    from umanet.data.check import CheckReport
    from umanet.data.check.mend import Mended
    from umanet.data.index import DatasetIndex

ERRORS_FOUND = 1


@dataclass(frozen=True)
class Check(CaseParallel):
    """Read every file of a data set and report every problem. Exit code 1: there are errors."""

    dataset: tyro.conf.Positional[Path]
    """A dataset.json."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the report as JSON."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the report as JSON to this file."""
    fix: tyro.conf.FlagCreatePairsOff[bool] = False
    """Copy the image's header onto NIfTI annotations of the same stored shape whose geometry differs, after a backup
    (FILE.bak-1). Never resamples."""

    def run(self) -> int:
        from umanet.data.files import replace_file
        from umanet.data.index import read_index

        index = read_index(self.dataset)
        found = self._check(index)
        values = {}
        if self.fix:
            mended = _mend(index, found)
            values["mended"] = [{key: str(value or "") for key, value in asdict(one).items()} for one in mended]
            if any(one.backup for one in mended):
                found = self._check(index)
        stored = json.dumps(found.to_json() | values, indent=1, ensure_ascii=False)
        if self.output is not None:
            replace_file(self.output, (stored + "\n").encode())
        print_text(stored if self.json else found.to_text())
        if not found.ok:
            return ERRORS_FOUND
        next_step("train", self.dataset, "-o", "run")
        return 0

    def _check(self, index: "DatasetIndex") -> "CheckReport":
        from umanet.data.check import check

        # Where nothing is said, check itself chooses: threads, where files are large.
        executor = None if self.workers is None and self.scheduler is None else self.executor()
        with progress("Checking") as report:
            return check(index, executor=executor, progress=report)


def _mend(index: "DatasetIndex", found: "CheckReport") -> "list[Mended]":
    """Says each file that was changed, and each that was not."""
    from umanet.data.check.mend import mend_headers

    looked_at = mend_headers(index, found)
    for one in looked_at:
        if one.backup is not None:
            say(f"Header of the image copied to {one.file}; as it was: {one.backup}")
        else:
            say(f"Left alone: {one.file}: {one.reason}")
    if any(one.backup for one in looked_at):
        say("Look at these annotations over their images: a header says nothing of whether the voxels are right.")
    elif not looked_at:
        say("No NIfTI annotation with another geometry than its image found: nothing to fix.")
    return looked_at
