"""Taking back what the worker has declared: for the demo, which leaves a broker as it was."""

from typing import TYPE_CHECKING

from whatsapp_worker.amqp.outbound import opened
from whatsapp_worker.amqp.session import CALL_SECONDS, LIBRARY_ERRORS, at_most, said
from whatsapp_worker.errors import PauseReason, Unavailable

if TYPE_CHECKING:
    from whatsapp_worker.settings import Settings


async def remove_topology(settings: "Settings") -> None:
    """Delete the queues and exchanges these settings name, and all that lies in them.

    Raises:
        Misconfigured: RabbitMQ refuses the user, the password or the virtual host.
        Unavailable: it can not be reached, or did not delete everything.
    """
    ladder = (settings.retry_queue(rung) for rung in settings.retry_delays)
    async with opened(settings, "whatsapp-worker demo") as channel:
        try:
            async with at_most(CALL_SECONDS):
                for queue in (settings.whatsapp_queue_name, *ladder, settings.dead_letter_queue):
                    await channel.queue_delete(queue)
                for exchange in (settings.whatsapp_exchange, settings.whatsapp_dlx):
                    await channel.exchange_delete(exchange)
        except LIBRARY_ERRORS as error:
            raise Unavailable(
                PauseReason.PUBLISHER, f"RabbitMQ did not delete everything: {said(error)}"
            ) from error
