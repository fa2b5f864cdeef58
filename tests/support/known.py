"""Studies that look the same on every machine."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def known_pictures() -> Iterator[None]:
    """Sizes and looks are compared here: studies are made of what PyPI brings, whether the corpus is there or not."""
    corpus = os.environ.pop("MPACS_CORPUS", None)
    yield
    if corpus is not None:
        os.environ["MPACS_CORPUS"] = corpus
