"""The sources of `umanet import`: one documented dataclass per layout of raw data."""

from umanet.cli.sources.bids import Bids
from umanet.cli.sources.breast_dce import BreastDce
from umanet.cli.sources.chase_db1 import ChaseDb1
from umanet.cli.sources.csv import Csv
from umanet.cli.sources.curvas import Curvas
from umanet.cli.sources.dicom import Dicom
from umanet.cli.sources.folder import Folder
from umanet.cli.sources.jsrt import Jsrt
from umanet.cli.sources.lidc import Lidc
from umanet.cli.sources.lidc_crops import LidcCrops
from umanet.cli.sources.nnunet import Nnunet
from umanet.cli.sources.qubiq import Qubiq
from umanet.cli.sources.riga import Riga
from umanet.cli.sources.source import Source

SOURCES: dict[str, type[Source]] = {
    "folder": Folder,
    "bids": Bids,
    "breast-dce": BreastDce,
    "chase-db1": ChaseDb1,
    "csv": Csv,
    "curvas": Curvas,
    "dicom": Dicom,
    "jsrt": Jsrt,
    "lidc": Lidc,
    "lidc-crops": LidcCrops,
    "nnunet": Nnunet,
    "qubiq": Qubiq,
    "riga": Riga,
}
"""By the word that a user types after `umanet import`."""
