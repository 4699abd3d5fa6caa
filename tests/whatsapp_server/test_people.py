"""People and devices: who is found by what, and what waits for a device that is away."""

from dataclasses import dataclass, field

import pytest

from tests.whatsapp_server.people import Account, Contact, Device, Letter, People
from tests.whatsapp_server.signal_protocol import Party
from tests.whatsapp_server.stanza import JID, LID_SERVER, Node

ALICE, OWNER = "15551110001", "15550000001"


@dataclass(slots=True)
class RecordingLine:
    """A connection that keeps what it is given."""

    sent: list[Node] = field(default_factory=list)

    def send(self, node: Node) -> None:
        self.sent.append(node)

    def hang_up(self) -> None:
        raise AssertionError("nobody hangs up here")


@pytest.fixture
def people() -> People:
    return People()


def link(account: Account) -> Device:
    keys = Party().bundle(one_time=False)
    device = Device(account, account.next_number(), noise_key=bytes(32), keys=keys)
    account.devices.append(device)
    return device


def letter(person: Contact, sender: Device, message_id: str, text: str, device: int) -> Letter:
    return Letter(
        id=message_id,
        text=text,
        to=person.number,
        device=device,
        sender=sender,
        encryption="msg",
        kind="conversation",
        extras=(),
        content=b"",
        at=0.0,
    )


def receipt(device: int, kind: str | None = None) -> Node:
    sender = JID("100000000000001", LID_SERVER, device)
    return Node("receipt", {"from": sender, "id": "M1", "type": kind})


def ack_of(node: Node) -> Node:
    attrs = {"class": node.tag, "id": node.attrs["id"], "to": node.attrs["from"]}
    return Node("ack", {**attrs, "type": node.attrs.get("type")})


def test_a_person_is_found_by_number_and_by_lid(people: People) -> None:
    alice = people.add(ALICE, "Alice", receipts=True)
    assert people.by_number(ALICE) is alice
    assert people.by_jid(alice.jid) is alice
    assert people.by_jid(alice.lid) is alice
    assert people.by_jid(JID(alice.lid.user)) is None  # A LID is no number.


def test_a_lid_is_the_same_each_time_and_does_not_show_the_number(people: People) -> None:
    alice = people.add(ALICE, "Alice", receipts=True)
    again = People().add(ALICE, "Alice", receipts=True)
    assert alice.lid == again.lid
    assert ALICE not in alice.lid.user


@pytest.mark.parametrize("number", ["", "+15551110001", "alice"])
def test_nobody_has_a_number_that_is_none(people: People, number: str) -> None:
    with pytest.raises(ValueError, match="digits only"):
        people.add(number, "Alice", receipts=True)


def test_a_number_belongs_to_one_person(people: People) -> None:
    people.add_account(ALICE, "Alice")
    with pytest.raises(ValueError, match="somebody with this number"):
        people.add(ALICE, "Another Alice", receipts=True)


def test_everyone_has_a_phone(people: People) -> None:
    with pytest.raises(ValueError, match="phone"):
        people.add(ALICE, "Alice", devices=0, receipts=True)


def test_a_message_is_read_once_though_three_devices_show_it(people: People) -> None:
    alice = people.add(ALICE, "Alice", devices=3, receipts=True)
    sender = link(people.add_account(OWNER, "Owner"))
    alice.inbox += [letter(alice, sender, "M1", "hello", device) for device in range(3)]
    assert alice.texts == ["hello"]


def test_a_message_that_was_sent_twice_is_read_twice(people: People) -> None:
    alice = people.add(ALICE, "Alice", receipts=True)
    sender = link(people.add_account(OWNER, "Owner"))
    alice.inbox += [letter(alice, sender, message_id, "hello", 0) for message_id in ("M1", "M2")]
    assert alice.texts == ["hello", "hello"]


def test_linked_devices_are_numbered_from_one_and_no_number_is_used_twice(people: People) -> None:
    account = people.add_account(OWNER, "Owner")
    link(account)
    account.devices.clear()
    second = link(account)
    assert people.device_numbers(account.phone) == [0, 2]
    assert people.linked_device(account.phone, 2) is second
    assert people.linked_device(account.phone, 1) is None


def test_each_one_time_key_is_handed_out_once(people: People) -> None:
    device = link(people.add_account(OWNER, "Owner"))
    first, second = (Party().bundle().one_time for _ in range(2))
    assert first is not None
    assert second is not None
    device.prekeys += [first, second]
    assert [device.bundle().one_time for _ in range(3)] == [first, second, None]


def test_a_stanza_waits_until_the_device_is_there_and_confirms_it(people: People) -> None:
    device = link(people.add_account(OWNER, "Owner"))
    message = Node("message", {"from": JID(ALICE), "id": "M1", "type": "text"})
    device.deliver(message)
    assert list(device.waiting.values()) == [message]
    device.line = line = RecordingLine()
    device.deliver(other := receipt(0))
    assert line.sent == [other]  # What waited is the login's business.
    device.confirmed(ack_of(message))
    assert list(device.waiting.values()) == [other]


def test_a_receipt_for_a_message_confirms_it_as_an_ack_does(people: People) -> None:
    device = link(people.add_account(OWNER, "Owner"))
    device.deliver(Node("message", {"from": JID(ALICE), "id": "M1"}))
    device.has_read("M2")
    assert len(device.waiting) == 1
    device.has_read("M1")
    assert not device.waiting


def test_receipts_of_several_devices_and_kinds_are_confirmed_one_by_one(people: People) -> None:
    device = link(people.add_account(OWNER, "Owner"))
    receipts = [receipt(0), receipt(1), receipt(0, "read")]
    for each in receipts:
        device.deliver(each)
    device.confirmed(ack_of(receipts[0]))
    assert list(device.waiting.values()) == receipts[1:]
    device.confirmed(ack_of(receipts[2]))
    assert list(device.waiting.values()) == [receipts[1]]


def test_a_device_in_a_failure_report_shows_no_keys(people: People) -> None:
    device = link(people.add_account(OWNER, "Owner"))
    assert "Bundle" not in repr(device)
    assert "noise_key" not in repr(device)
