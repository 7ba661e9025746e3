import pytest

from tests.contpte import builders


@pytest.fixture(params=builders.GRANULES)
def granule(request) -> str:
    return request.param
