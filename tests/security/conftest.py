"""Tests of single permissions and of refused connections, which only `make test-security` runs, in a minute."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
CHOSEN = "UGC_TEST_SECURITY"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip them in every other run of the tests; tests/integration/test_secured_path.py is in all."""
    for item in items:
        if not os.environ.get(CHOSEN) and item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.skip(reason="make test-security runs it"))
