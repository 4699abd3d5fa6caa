"""The only door to WhatsApp (neonize): pairing, the session and its states, sending."""

from whatsapp_worker.whatsapp.environment import required_environment
from whatsapp_worker.whatsapp.installation import check_installation
from whatsapp_worker.whatsapp.pairing_client import pair
from whatsapp_worker.whatsapp.session import NeonizeWhatsApp
from whatsapp_worker.whatsapp.states import WhatsAppState

__all__ = [
    "NeonizeWhatsApp",
    "WhatsAppState",
    "check_installation",
    "pair",
    "required_environment",
]
