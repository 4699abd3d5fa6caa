"""The only door to RabbitMQ."""

from whatsapp_worker.amqp.broker import RabbitMQ, Status
from whatsapp_worker.amqp.depths import Depths

__all__ = ["Depths", "RabbitMQ", "Status"]
