"""Celery, its pool `solo` or `prefork`; late acks, no results, no event loop for the async send.

`prefork` has two processes, as there are two cores, unless one message at a time is asked for.
"""

import sys

from celery import Celery
from kombu import Queue

from benchmarks.contenders.contract import NAME, Meter, Metered, Task, run_without_loop
from benchmarks.contenders.shared_meter import SharedMeter
from benchmarks.contenders.work import Fields, Work

PROCESSES = 2


def main(pool: str) -> None:
    """Consume until told to stop (Celery's own handling of SIGTERM)."""
    task = Task.read()
    processes = min(PROCESSES, task.prefetch) if pool == "prefork" else 1
    meter: Metered = SharedMeter(task) if pool == "prefork" else Meter(task)
    work = Work(task, meter)

    def send(fields: Fields) -> None:
        meter.begin()
        run_without_loop(work.do(fields))
        meter.done()

    # It declares nothing, and has to know a quorum queue as such, or it would set a global QoS.
    queue = Queue(task.queue, no_declare=True, queue_arguments={"x-queue-type": task.kind})
    app = Celery("benchmark", broker=task.url)
    app.conf.update(
        task_queues=[queue],
        task_default_queue=task.queue,
        task_create_missing_queues=False,
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=task.prefetch // processes,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_native_delayed_delivery_queue_type="classic",
    )
    app.task(send, name=NAME)
    app.Worker(
        pool=pool,
        concurrency=processes,
        loglevel="ERROR",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    ).start()


if __name__ == "__main__":
    main(sys.argv[1])
