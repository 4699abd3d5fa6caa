"""From bytes to a message that can be sent, or to the reason why not."""

from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from whatsapp_worker.content import ContentPolicy
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.phone import PhoneCheck


@dataclass(frozen=True, slots=True)
class Rules:
    """How strictly messages are checked (settings of the same names)."""

    max_message_bytes: int = 64 * 1024
    phone_check: PhoneCheck = PhoneCheck.FORMAT
    content_policy: ContentPolicy = ContentPolicy.STANDARD


class WhatsAppEnvelope(BaseModel):
    """One message to send, fully checked."""

    model_config = ConfigDict(frozen=True)

    user_id: UUID
    text_message: str = Field(repr=False)
    destination: str = Field(repr=False)
    idempotency_key: str | None = Field(default=None, repr=False)


def decode(delivery: Delivery, rules: Rules) -> WhatsAppEnvelope:
    """Read an envelope; raises Invalid and nothing else."""
    raise NotImplementedError
