#!/bin/sh
# Publish one WhatsApp message with RabbitMQ's own rabbitmqadmin, to try things out.
# Needs the management plugin: MANAGEMENT_HOST, MANAGEMENT_PORT, AMQP_USER, AMQP_PASSWORD, AMQP_VHOST.
# It answers before the message is safe (no confirm): services use AMQP.
set -eu

rabbitmqadmin --host="$MANAGEMENT_HOST" --port="$MANAGEMENT_PORT" \
    --username="$AMQP_USER" --password="$AMQP_PASSWORD" --vhost="$AMQP_VHOST" \
    publish exchange=woragis.notifications routing_key=whatsapp.send \
    properties='{"content_type": "application/json", "delivery_mode": 2,
        "message_id": "order-12-on-its-way"}' \
    payload='{"user_id": "550e8400-e29b-41d4-a716-446655440000",
        "text_message": "Hi Ana, I am on my way with order #12.", "destination": "+1 555 010-0999"}'
