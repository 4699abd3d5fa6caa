"""`whatsapp-worker demo`: the real daemon on a real RabbitMQ, with a sender that sends nothing."""

from whatsapp_worker.demo.show import run_demo

__all__ = ["run_demo"]
