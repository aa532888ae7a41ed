"""Where roles run."""

import pytest

from coworld_actors.runtime.place import DRIVERS, Place
from coworld_drivers.driver import Pull
from coworld_protocol.errors import Refused


@pytest.mark.parametrize("driver", [name for name in DRIVERS if name != "docker"])
@pytest.mark.parametrize(("option", "said"), [("--trust", {"trust": True}), ("--pull", {"pull": Pull.NEVER})])
def test_what_is_for_containers_is_refused_without_them(driver: str, option: str, said: dict[str, object]):
    """With what to do."""
    with pytest.raises(Refused, match=option) as caught:
        Place(driver=driver, **said)  # type: ignore[arg-type]
    assert "--driver docker" in caught.value.todo


def test_containers_may_be_trusted_and_pulled():
    """Both go with docker; who needs the network outside says so for every driver."""
    assert Place(driver="docker", trust=True, pull=Pull.ALWAYS).trust
    assert Place(driver="process", outside=True).outside
