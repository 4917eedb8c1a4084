"""Reports that several tests look at."""

import pytest

from fake_data.reports import KINDS


@pytest.fixture(scope="session", params=KINDS)
def made(request, tmp_path_factory):
    return KINDS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def flat(tmp_path_factory):
    return KINDS["2D"](tmp_path_factory.mktemp("flat"))
