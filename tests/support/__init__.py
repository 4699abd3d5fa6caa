"""What the tests share: a broker, a daemon, an ordinary AMQP client, and waiting for facts."""
