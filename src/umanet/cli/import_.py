from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Union

import tyro

from umanet.cli.sources import SOURCES
from umanet.cli.sources.source import Source

if TYPE_CHECKING:
    AnySource = Source
else:
    AnySource = Union[tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in SOURCES.items())]  # noqa: UP007  # a table has no bars


@dataclass(frozen=True)
class Import:
    """Describe raw data in a dataset.json, with seeded splits by patient."""

    source: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[AnySource]]
    """How the raw data are laid out."""

    def run(self) -> None:
        self.source.run()
