import numpy as np
import pytest

from fake_data.predictions import TWO, Folder
from umanet.types import Geometry


@pytest.fixture(autouse=True, scope="session")
def no_flushing():
    """Many small files, of which none must outlive a power failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("umanet.data.files.os.fsync", lambda handle: None)
        yield


@pytest.fixture
def flat(tmp_path):
    """2 x 2 pictures."""
    return Folder(tmp_path, Geometry((2, 2), (1.0, 1.0), suffix=".png"))


@pytest.fixture
def solid(tmp_path):
    """Volumes of two classes, in a file order that is not RAS+."""
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    orientation = ((0, -1), (1, 1), (2, 1))
    geometry = Geometry((4, 3, 2), (1.0, 2.0, 3.0), True, affine, (4, 3, 2), orientation, ".nii.gz")
    return Folder(tmp_path, geometry, TWO)
