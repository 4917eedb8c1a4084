"""The sources of `umanet import`: one documented dataclass per layout of raw data."""

from umanet.cli.sources.chase_db1 import ChaseDb1
from umanet.cli.sources.folder import Folder
from umanet.cli.sources.lidc import Lidc
from umanet.cli.sources.lidc_crops import LidcCrops
from umanet.cli.sources.source import Source

SOURCES: dict[str, type[Source]] = {
    "folder": Folder,
    "chase-db1": ChaseDb1,
    "lidc": Lidc,
    "lidc-crops": LidcCrops,
}
"""By the word that a user types after `umanet import`."""
