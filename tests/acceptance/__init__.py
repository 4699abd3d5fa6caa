"""The daemon as a whole: real RabbitMQ, the real neonize library, a WhatsApp server of our own."""
