"""A data set in the layouts of other tools: nnU-Net, MONAI, BIDS."""

from umanet.export.export import LAYOUTS, export_dataset

__all__ = ["LAYOUTS", "export_dataset"]
