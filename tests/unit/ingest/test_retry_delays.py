"""Retry delays in errors."""

from __future__ import annotations

import pytest
from google.rpc.error_details_pb2 import RetryInfo

from services.ingest.errors import NANOSECONDS, retry_after


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.05, (0, 50_000_000)), (1.0, (1, 0)), (0.9999999999, (1, 0)), (44.9999999999, (45, 0)), (1e-12, (0, 0))],
)
def test_retry_delay_is_a_valid_duration(seconds: float, expected: tuple[int, int]) -> None:
    """A computed delay, of any number of digits, is a valid Duration, whose nanoseconds are less than a second."""
    info = RetryInfo.FromString(retry_after(seconds).value)

    assert (info.retry_delay.seconds, info.retry_delay.nanos) == expected
    assert info.retry_delay.nanos < NANOSECONDS
