"""What is shown of strangers' words."""

from __future__ import annotations

import msgspec
import trio

from coworld_actors.observe.discretion import MOST_CHARACTERS, Discretion, discreet
from coworld_actors.runtime.opening import open_runtime
from coworld_drivers.process import ProcessDriver


def test_the_queries_of_urls_are_cut() -> None:
    """The token of a seat is one."""
    assert discreet("lost ws://127.0.0.1:1/player?slot=0&token=abc, why") == "lost ws://127.0.0.1:1/player why"


def test_secrets_are_hidden_the_longest_first() -> None:
    """One that contains another one leaves no rest of it; what is too short to be a secret stays."""
    assert discreet("k=hunter22-long hunter22 ab", ("hunter22", "hunter22-long", "ab")) == "k=[secret] [secret] ab"


def test_what_a_terminal_obeys_is_escaped_and_lines_stay() -> None:
    """Several lines stay several lines."""
    assert discreet("a\x1b[2J\nb\u202e") == "a\\u001b[2J\nb\\u202e"


def test_no_text_is_a_book() -> None:
    """There is a limit."""
    assert len(discreet("x" * 10 * MOST_CHARACTERS)) == MOST_CHARACTERS


async def test_a_runtimes_discretion_knows_its_episodes_secrets(driver: ProcessDriver, spec_of) -> None:
    """As long as the episode is there."""
    with trio.fail_after(60):
        async with open_runtime(driver) as runtime:
            runtime.pause()
            spec = msgspec.structs.replace(spec_of(id="e"), secret_env={"KEY": "hunter22"})
            handle = await runtime.start_episode(spec)
            discretion = Discretion(runtime)
            assert discretion("e", "hunter22") == "[secret]"
            assert discretion("other", "hunter22") == "hunter22"
            handle.cancel()
