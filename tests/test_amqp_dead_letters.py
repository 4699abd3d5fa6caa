"""What is believed of a message that anybody may have put into the dead-letter queue."""

from typing import Any

from pamqp.commands import Basic

from whatsapp_worker.amqp.dead_letters import MOST_CHARACTERS, DeadLetters, Entry
from whatsapp_worker.amqp.incoming import Arrival
from whatsapp_worker.settings import Settings


def entry(**headers: Any) -> Entry:
    """A message with these headers and a body that is no envelope, as the tool reads it."""
    arrival = Arrival(1, False, "", Basic.Properties(headers=headers), b"{}")
    return DeadLetters(Settings())._entry(0, arrival)


def test_a_header_is_read_as_far_as_ours_would_be_long() -> None:
    names = ("x-error-type", "x-error-detail", "x-failed-at", "x-first-seen", "x-origin-queue")
    read = entry(**dict.fromkeys(names, "x" * 100_000))
    texts = (read.error_type, read.error_detail, read.failed_at, read.first_seen, read.origin_queue)
    assert texts == ("x" * MOST_CHARACTERS,) * 5


def test_a_count_is_a_number() -> None:
    read = entry(**{"x-attempts": True, "x-unknown-count": "7"})
    assert (type(read.attempts), read.attempts, read.unknown_count) == (int, 0, 0)
