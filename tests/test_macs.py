"""Names and contents in the ledgers of all releases: who changes them sends messages twice."""

from typing import cast
from uuid import UUID

from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.store.macs import mac, name_of

SECRET = bytes(range(32))
ENVELOPE = WhatsAppEnvelope(
    user_id=cast(UUID, str(UUID(int=7))),  # As JSON has it.
    text_message='Olá \u2028 "x" \\ 1\n',
    destination="+5511999999999",
    idempotency_key="order-4711",
)
NAME = "ffdf07c5f7046f8ef2d3437b851726c8ac009c13bb08f648fb91415b053bdf8b"
CONTENT = "b2b7b7ab6a8555e4d5c6ad2c904af78285b61ab01613f1a8e82472679c02a37a"
"""As whatsapp-worker 0.1.0 wrote them."""


def test_a_job_has_the_name_that_all_releases_gave_it() -> None:
    assert name_of(SECRET, Delivery(b""), ENVELOPE) == NAME
    by_message_id = ENVELOPE.model_copy(update={"idempotency_key": None})
    assert name_of(SECRET, Delivery(b"", message_id="order-4711"), by_message_id) == NAME
    assert name_of(SECRET, Delivery(b""), by_message_id) is None


def test_a_content_has_the_print_that_all_releases_gave_it() -> None:
    assert mac(SECRET, ENVELOPE.canonical()).hex() == CONTENT


def test_one_user_can_not_name_the_job_of_another() -> None:
    other = ENVELOPE.model_copy(update={"user_id": UUID(int=8)})
    assert name_of(SECRET, Delivery(b""), other) not in (NAME, None)
