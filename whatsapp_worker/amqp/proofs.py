"""What is known of acknowledgements, which RabbitMQ never confirms.

An ack that was written may still be lost with its connection.  But RabbitMQ has at most `prefetch`
deliveries of a consumer open, so one more delivery than that proves that it has processed the
first settlements.  And a message whose ack was lost goes back to the *front* of the queue: when a
later session's first look at the queue is a message never delivered before, nothing went back.
"""

from collections import deque
from dataclasses import dataclass, field

from whatsapp_worker.delivery import Receipt


@dataclass(slots=True)
class Proofs:
    """Marks receipts `ack_proven`, from the order of deliveries and settlements.

    Args:
        sole: no other consumer can hold messages of the queue, and one at a time is delivered:
            needed to conclude anything across sessions.
    """

    sole: bool = False
    _delivered: int = 0
    _proven: int = 0
    _slack: int = 0
    _open: int = 0
    _written: deque[Receipt | None] = field(default_factory=deque)
    _earlier: list[Receipt] = field(default_factory=list)

    def session(self, *, sole: bool) -> None:
        """Begin on a new channel: what was not proven on the last one is in doubt."""
        unproven = [receipt for receipt in self._written if receipt]
        for receipt in unproven:
            receipt.lost = True  # Its ack may have been, and then the message comes again.
        self._earlier = [*self._earlier, *unproven] if sole else []
        self._written.clear()
        self._delivered = self._proven = self._slack = self._open = 0
        self.sole = sole

    def consuming(self, prefetch: int) -> None:
        """Note that a consumer starts on this channel, beside deliveries that are still open."""
        self._slack = prefetch + self._open

    def delivered(self, *, redelivered: bool) -> None:
        """Note a delivery, and draw conclusions."""
        self._delivered += 1
        self._open += 1
        while self._proven < self._delivered - self._slack and self._written:
            receipt = self._written.popleft()
            self._proven += 1
            if receipt:
                receipt.ack_proven = True
        if self.sole and not redelivered:
            for receipt in self._earlier:
                receipt.ack_proven = True
            self._earlier.clear()

    def settled(self, receipt: Receipt | None) -> None:
        """Note a settlement that was written: the receipt if it ends the message, else None."""
        self._open -= 1
        self._written.append(receipt)
