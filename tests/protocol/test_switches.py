"""The environment variables of our own."""

from __future__ import annotations

from coworld_protocol import contract, switches


def test_our_own_variables_are_none_of_the_contracts():
    """A name that the contract gives a meaning is not used for another."""
    ours = {getattr(switches, name) for name in switches.__all__}
    theirs = {value for name, value in vars(contract).items() if name.startswith("ENV_")}
    assert len(ours) == len(switches.__all__)
    assert all(name.startswith("COWORLD_ACTORS_") for name in ours)
    assert not ours & theirs
