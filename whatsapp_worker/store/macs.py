"""What the ledger keeps of names and contents: enough to tell them apart, nothing to read."""

from hashlib import blake2b

from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import WhatsAppEnvelope


def mac(secret: bytes, content: bytes) -> bytes:
    """32 bytes that stand for the content, and say nothing about it to who has not the secret.

    BLAKE2 with a key (RFC 7693, 2.5): a third of what HMAC-SHA256 takes.
    """
    return blake2b(content, key=secret, digest_size=32).digest()


def name_of(secret: bytes, delivery: Delivery, envelope: WhatsAppEnvelope) -> str | None:
    """The ledger key of a job that its publisher named; one user can not name another's."""
    name = envelope.idempotency_key or delivery.message_id
    if name is None:
        return None
    return mac(secret, envelope.user_id.bytes + name.encode()).hex()
