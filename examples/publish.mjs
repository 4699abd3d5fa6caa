// Publish one WhatsApp message so that it is neither lost nor sent twice.
// Needs Node 20, amqplib (npm install amqplib), and the broker's address in RABBITMQ_URL.
import { randomBytes } from 'node:crypto';
import amqp from 'amqplib';

/** Resolves when RabbitMQ has taken the message; if it rejects, publish again with the same id. */
async function publish(envelope, messageId) {
  const connection = await amqp.connect(process.env.RABBITMQ_URL);
  try {
    const channel = await connection.createConfirmChannel();
    const lost = new Promise((_, reject) => {
      channel.on('error', reject); // For example: there is no such exchange.
      channel.on('return', () => reject(new Error('no queue took the message')));
    });
    channel.publish('woragis.notifications', 'whatsapp.send', Buffer.from(JSON.stringify(envelope)), {
      contentType: 'application/json',
      persistent: true,
      mandatory: true,
      messageId, // Sent once per user_id and message_id, however often it is published.
      timestamp: Math.floor(Date.now() / 1000), // Seconds, not milliseconds.
      headers: {
        // Your tracer's, if you have one.
        traceparent: `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`,
      },
    });
    await Promise.race([channel.waitForConfirms(), lost]);
  } finally {
    await connection.close();
  }
}

await publish(
  {
    user_id: '550e8400-e29b-41d4-a716-446655440000',
    text_message: "Hi Ana, I'm on my way with order #12.",
    destination: '+1 555 010-0999',
  },
  'order-12-on-its-way',
);
