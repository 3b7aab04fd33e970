"""Time by hand: nothing waits."""

import pytest

from providers.testing.clock import ManualClock


@pytest.fixture
def clock():
    return ManualClock()
