#!/bin/sh
# Publish one WhatsApp message over RabbitMQ's management HTTP API, to try things out.
# Needs curl and the management plugin: MANAGEMENT_URL=http://rabbitmq:15672, AMQP_USER, AMQP_PASSWORD,
# AMQP_VHOST.  The API answers before the message is safe (no confirm): services use AMQP.
set -eu

envelope='{"user_id": "550e8400-e29b-41d4-a716-446655440000",
  "text_message": "Hi Ana, I am on my way with order #12.", "destination": "+1 555 010-0999"}'

answer=$(
    curl --silent --show-error --fail-with-body --max-time 10 \
        --user "$AMQP_USER:$AMQP_PASSWORD" \
        --header 'content-type: application/json' \
        --data @- "$MANAGEMENT_URL/api/exchanges/$AMQP_VHOST/woragis.notifications/publish" <<JSON
{
  "routing_key": "whatsapp.send",
  "payload_encoding": "base64",
  "payload": "$(printf '%s' "$envelope" | base64 | tr -d '\n')",
  "properties": {
    "content_type": "application/json",
    "delivery_mode": 2,
    "message_id": "order-12-on-its-way",
    "timestamp": $(date +%s),
    "headers": {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
  }
}
JSON
)
[ "$answer" = '{"routed":true}' ] || {
    echo "no queue took the message: $answer" >&2
    exit 1
}
