"""Dramatiq: its worker in this process, no middleware, no event loop for the async send.

One worker thread: more only wait for each other's GIL, as a send here waits for nothing.
"""

import os
import signal

from benchmarks.contenders.contract import NAME, Meter, Task, run_without_loop
from benchmarks.contenders.work import Fields, Work


def main() -> None:
    """Consume until told to stop."""
    task = Task.read()
    # Read when it is imported, and in lower case.
    os.environ["dramatiq_queue_prefetch"] = str(task.prefetch)  # noqa: SIM112
    from dramatiq import Worker, actor
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    signals = {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # Its threads inherit that.
    meter = Meter(task)
    work = Work(task, meter)

    def send(fields: Fields) -> None:
        meter.begin()
        run_without_loop(work.do(fields))
        meter.done()

    broker = RabbitmqBroker(url=task.url, middleware=[])
    broker.queues.add(task.queue)  # It stands already: one it knows of is not declared.
    actor(send, actor_name=NAME, queue_name=task.queue, broker=broker)
    worker = Worker(broker, worker_threads=1)
    worker.start()
    signal.sigwait(signals)
    worker.stop()
    broker.close()


if __name__ == "__main__":
    main()
