"""Settings that cannot work together are refused when they are read."""

import pytest
from pydantic import ValidationError

from app.settings import Settings


@pytest.mark.parametrize("heartbeat_s", ["15", "20"])
def test_settings_refuse_a_heartbeat_that_comes_after_the_lease(heartbeat_s: str) -> None:
    with pytest.raises(ValidationError, match=r"heartbeat_s = .* less than lease_s = 15"):
        Settings.from_environment({"PENJING_HEARTBEAT_S": heartbeat_s})
