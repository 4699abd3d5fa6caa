"""Sends the WhatsApp messages that services publish to RabbitMQ, and settles every one."""

__version__ = "0.1.0"
