"""What the ledger keeps of names and contents: enough to tell them apart, nothing to read."""

import hmac

from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import WhatsAppEnvelope


def mac(secret: bytes, content: bytes) -> bytes:
    """32 bytes that stand for the content, and say nothing about it to who has not the secret.

    HMAC-SHA256, for ever: the ledgers of all releases are read with it.
    """
    return hmac.digest(secret, content, "sha256")


def name_of(secret: bytes, delivery: Delivery, envelope: WhatsAppEnvelope) -> str | None:
    """The ledger key of a job that its publisher named; one user can not name another's."""
    name = envelope.idempotency_key or delivery.message_id
    if name is None:
        return None
    return mac(secret, envelope.user_id.bytes + name.encode()).hex()
