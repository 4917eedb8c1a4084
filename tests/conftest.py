"""Before anything of umanet is imported: shapes and types are checked while the tests run."""

# ruff: noqa: E402
from jaxtyping import install_import_hook

install_import_hook("umanet", "beartype.beartype")

import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

# Two threads on a busy two-core machine are twenty times slower than one.
torch.set_num_threads(1)

REPOSITORY = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data", type=Path, metavar="PATH", help="folder of the real data sets; its tests skip without it"
    )


@pytest.fixture(scope="session")
def data_root(pytestconfig: pytest.Config) -> Path:
    """Where the real data lie. A folder that was named must be there; the usual place may be absent."""
    named = pytestconfig.getoption("--data")
    root = named or REPOSITORY.parent / "shared" / "data"
    if root.is_dir():
        return root
    if named:
        pytest.fail(f"--data {root} is no folder.")
    pytest.skip("No real data here; name their folder with --data PATH.")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("No CUDA device.")
