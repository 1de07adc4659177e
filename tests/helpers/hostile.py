"""Files that must be refused."""

import tracemalloc

import pytest

from fgjax.errors import UserError
from fgjax.models.weights import files

MEGABYTE = 10**6


def refusal(path, content, most=5 * MEGABYTE):
    """The sentence with which a file is refused; reading it may take ``most`` bytes."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            files.read_file(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most
    message = str(caught.value)
    assert message.startswith(str(path)) and len(message.splitlines()) == 1
    assert not message.endswith(".")
    return message
