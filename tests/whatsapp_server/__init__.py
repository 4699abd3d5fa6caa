"""A local multi-device WhatsApp server: the real client library pairs with it and sends through."""
