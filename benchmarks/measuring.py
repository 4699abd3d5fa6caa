"""One measurement: so many messages, timed where they arrive and where they were sent."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import linear_regression, quantiles
from time import monotonic, process_time

from benchmarks.processes import Footprint, cpu_seconds, footprint
from benchmarks.subjects import Subject
from tests.whatsapp_server.people import Contact

SAMPLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """What sending cost.

    Attributes:
        rate: messages per second, as they arrive.
        p50, p90, p99: milliseconds per message, as the sender sees it.
        cpu: milliseconds of processor time per message, of the sender.
        server: the share of one core that our WhatsApp server (and this benchmark) used.
    """

    rate: float
    p50: float
    p90: float
    p99: float
    cpu: float
    server: float


async def measure(subject: Subject, people: Sequence[Contact]) -> Measurement:
    """Send one message to each of these people, in order; somebody may be there many times.

    Raises:
        RuntimeError: not everybody read what was sent to them, once.
    """
    wanted = Counter(people)
    read = {person: len(person.texts) for person in wanted}
    await subject.load([person.number for person in people])
    ours, theirs, begun = process_time(), cpu_seconds(subject.pid), monotonic()
    seconds = await subject.send()
    elapsed = monotonic() - begun
    ours, theirs = process_time() - ours, cpu_seconds(subject.pid) - theirs
    if any(len(each.texts) - read[each] != times for each, times in wanted.items()):
        raise RuntimeError("somebody did not read what was sent, or read it twice")
    arrived = sorted(letter.at for each in wanted for letter in each.inbox[read[each] :])
    cuts = [1000 * each for each in quantiles(seconds, n=100, method="inclusive")]
    return Measurement(
        rate=(len(arrived) - 1) / (arrived[-1] - arrived[0]),
        p50=cuts[49],
        p90=cuts[89],
        p99=cuts[98],
        cpu=1000 * theirs / len(people),
        server=ours / elapsed,
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process held when so many messages had been read."""

    messages: int
    held: Footprint


@asynccontextmanager
async def sampled(pid: int, messages: Callable[[], int]) -> AsyncIterator[list[Sample]]:
    """Take a sample every second; the list is complete when the context is left."""
    samples: list[Sample] = []

    async def sample() -> None:
        while True:
            samples.append(Sample(messages(), footprint(pid)))
            await asyncio.sleep(SAMPLE_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        sampling = tasks.create_task(sample())
        yield samples
        sampling.cancel()
        samples.append(Sample(messages(), footprint(pid)))


def growth(samples: Sequence[Sample]) -> float:
    """By how many kB memory grows per 1000 messages, in the second half: the first warms up."""
    half = [each for each in samples if each.messages >= samples[-1].messages / 2]
    line = linear_regression([each.messages for each in half], [each.held.rss for each in half])
    return float(line.slope) * 1e6
