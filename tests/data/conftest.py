"""Configs of data sets whose prepared files lie in a temporary folder."""

import pytest

from fgjax import data


@pytest.fixture
def config(tmp_path):
    """``config.data`` with its cache in a folder of this test; call it with what differs."""

    def make(**changes):
        c = data.default_config()
        c.cache_dir = str(tmp_path / "cache")
        c.update(changes)
        return c

    return make
