from hypothesis import given
from hypothesis import strategies as st

from whatsapp_worker.amqp.proofs import Proofs
from whatsapp_worker.delivery import Receipt


def started(prefetch: int = 1, *, sole: bool = True) -> Proofs:
    proofs = Proofs()
    proofs.session(sole=sole)
    proofs.consuming(prefetch)
    return proofs


def delivered_and_acked(proofs: Proofs, *, redelivered: bool = False) -> Receipt:
    receipt = Receipt()
    proofs.delivered(redelivered=redelivered)
    proofs.settled(receipt)
    return receipt


def test_an_ack_proves_nothing_by_itself() -> None:
    assert not delivered_and_acked(started()).ack_proven


def test_at_prefetch_one_the_next_delivery_proves_the_ack() -> None:
    proofs = started()
    first, second = delivered_and_acked(proofs), delivered_and_acked(proofs)
    assert first.ack_proven
    assert not second.ack_proven


def test_at_prefetch_three_it_takes_three_more() -> None:
    proofs = started(prefetch=3)
    receipts = [delivered_and_acked(proofs) for _ in range(5)]
    assert [receipt.ack_proven for receipt in receipts] == [True, True, False, False, False]


def test_what_was_given_back_counts_but_is_not_proven() -> None:
    proofs = started()
    given_back = Receipt()
    proofs.delivered(redelivered=False)
    proofs.settled(None)
    acked = delivered_and_acked(proofs)
    delivered_and_acked(proofs)
    assert not given_back.ack_proven
    assert acked.ack_proven


def test_settlements_are_proven_in_the_order_they_were_written() -> None:
    proofs = started(prefetch=2)
    early, late = Receipt(), Receipt()
    proofs.delivered(redelivered=False)
    proofs.delivered(redelivered=False)
    proofs.settled(late)
    proofs.settled(early)
    proofs.delivered(redelivered=False)
    assert late.ack_proven
    assert not early.ack_proven


def test_what_is_held_over_a_pause_proves_nothing_about_the_rest() -> None:
    proofs = started()
    held = Receipt()
    proofs.delivered(redelivered=False)
    proofs.consuming(1)  # Paused with one held, and resumed: two may be open now.
    acked = delivered_and_acked(proofs)
    assert not acked.ack_proven
    proofs.settled(held)
    proofs.delivered(redelivered=False)
    assert acked.ack_proven
    assert not held.ack_proven


def test_a_pause_with_nothing_held_changes_nothing() -> None:
    proofs = started()
    acked = delivered_and_acked(proofs)
    proofs.consuming(1)
    proofs.delivered(redelivered=False)
    assert acked.ack_proven


def test_a_fresh_delivery_on_a_new_session_proves_that_nothing_came_back() -> None:
    proofs = started()
    acked = delivered_and_acked(proofs)
    proofs.session(sole=True)
    proofs.consuming(1)
    proofs.delivered(redelivered=True)
    assert not acked.ack_proven
    proofs.settled(Receipt())
    proofs.delivered(redelivered=False)
    assert acked.ack_proven


def test_nothing_is_concluded_across_sessions_beside_other_consumers() -> None:
    proofs = started()
    acked = delivered_and_acked(proofs)
    proofs.session(sole=False)
    proofs.consuming(1)
    proofs.delivered(redelivered=False)
    proofs.session(sole=True)
    proofs.consuming(1)
    proofs.delivered(redelivered=False)
    assert not acked.ack_proven


class Channel:
    """RabbitMQ's side: at most `prefetch` deliveries whose settlement it has not processed."""

    def __init__(self, prefetch: int) -> None:
        self.prefetch = prefetch
        self.unprocessed: list[Receipt] = []
        self.held: list[Receipt] = []
        self.processed: list[Receipt] = []

    def may_deliver(self) -> bool:
        return len(self.unprocessed) + len(self.held) < self.prefetch


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=80))
def test_nothing_is_called_proven_that_rabbitmq_has_not_processed(
    prefetch: int, steps: list[tuple[int, int]]
) -> None:
    proofs, broker, every = started(prefetch), Channel(prefetch), list[Receipt]()
    for kind, which in steps:
        if kind == 0 and broker.may_deliver():
            receipt = Receipt()
            every.append(receipt)
            broker.held.append(receipt)
            proofs.delivered(redelivered=False)
        elif kind == 1 and broker.held:
            receipt = broker.held.pop(which % len(broker.held))
            broker.unprocessed.append(receipt)
            proofs.settled(receipt)
        elif kind == 2 and broker.unprocessed:
            broker.processed.append(broker.unprocessed.pop(0))
        assert all(r in broker.processed for r in every if r.ack_proven)


def test_an_ack_that_was_not_proven_may_be_lost_with_its_channel() -> None:
    proofs = Proofs()
    proofs.session(sole=True)
    proofs.consuming(1)
    proofs.delivered(redelivered=False)
    receipt = Receipt()
    proofs.settled(receipt)
    assert not receipt.lost
    proofs.session(sole=True)
    assert receipt.lost
    assert not receipt.ack_proven


def test_keeps_nothing_of_earlier_channels_where_nothing_can_prove_it() -> None:
    proofs = Proofs()
    for _ in range(50):
        proofs.session(sole=False)
        proofs.consuming(5)
        proofs.delivered(redelivered=False)
        proofs.settled(Receipt())
    assert proofs._earlier == []
