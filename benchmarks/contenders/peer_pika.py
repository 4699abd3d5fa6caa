"""pika's blocking connection, one message after another; no event loop for the async send."""

import signal
from typing import NoReturn

import pika

from benchmarks.contenders.contract import Meter, Task, run_without_loop
from benchmarks.contenders.work import Work


class _ToldToStop(BaseException):
    """SIGTERM came."""


def _stop(*_: object) -> NoReturn:
    raise _ToldToStop


def main() -> None:
    """Consume until told to stop."""
    task = Task.read()
    meter = Meter(task)
    work = Work(task, meter)

    def handle(channel: "pika.Channel", method: "pika.Deliver", _: object, body: bytes) -> None:
        meter.begin()
        run_without_loop(work.decode(body))
        channel.basic_ack(method.delivery_tag)
        meter.done()

    connection = pika.BlockingConnection(pika.URLParameters(task.url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=task.prefetch)
    channel.basic_consume(task.queue, handle)
    signal.signal(signal.SIGTERM, _stop)
    try:
        channel.start_consuming()
    except _ToldToStop:
        connection.close()


if __name__ == "__main__":
    main()
