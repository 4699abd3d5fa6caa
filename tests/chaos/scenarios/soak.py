"""The short form of `make soak`."""

from tests.chaos.arena import Arena
from tests.chaos.scenario import scenario
from tests.chaos.soak import soak


@scenario(
    "a random fault every few seconds for a minute, with memory, descriptors and threads sampled",
    seconds=75,
    quick=30,
    own_node=True,
)
async def short_soak(arena: Arena) -> None:
    await soak(arena, max(20.0, 60 * arena.scale), arena.note)
