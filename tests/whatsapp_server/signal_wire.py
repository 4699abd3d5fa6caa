"""The bytes of Signal messages (version 3): what a sender writes and a receiver reads.

A message is a version byte, a protobuf, and (not a pre-key message) 8 bytes of HMAC over both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

VERSION = b"\x33"
"""Version 3, and that 3 is the newest the sender knows."""

KEY_TYPE = b"\x05"
"""Stands before every public key: Curve25519."""

MAC_SIZE = 8


class Undecipherable(Exception):
    """A message that cannot be read; the sessions are as they were before it.

    NotASignalMessage, NoSession, DuplicateMessage, TooFarAhead or NotAuthentic say why.
    """


class NotASignalMessage(Undecipherable):
    """The bytes are not laid out as a message."""


Fields: TypeAlias = Mapping[str, tuple[int, int]]
BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
NUMBER = descriptor_pb2.FieldDescriptorProto.TYPE_UINT32

MESSAGE: Fields = {
    "ratchet": (1, BYTES),
    "counter": (2, NUMBER),
    "previous": (3, NUMBER),
    "ciphertext": (4, BYTES),
}
PRE_KEY_MESSAGE: Fields = {
    "one_time_id": (1, NUMBER),
    "base_key": (2, BYTES),
    "identity": (3, BYTES),
    "message": (4, BYTES),
    "registration_id": (5, NUMBER),
    "signed_id": (6, NUMBER),
}


def _protobuf(name: str, fields: Fields) -> Any:  # Generated at run time: mypy cannot know it.
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", syntax="proto2")
    kind = file.message_type.add(name=name)
    for field, (number, type_) in fields.items():
        kind.field.add(
            name=field,
            number=number,
            type=descriptor_pb2.FieldDescriptorProto.Type.ValueType(type_),
            label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


_Message = _protobuf("Message", MESSAGE)
_PreKeyMessage = _protobuf("PreKeyMessage", PRE_KEY_MESSAGE)


@dataclass(frozen=True, slots=True)
class Message:
    """A message of an established session; `signed` is what its MAC covers."""

    ratchet: bytes
    counter: int
    ciphertext: bytes
    signed: bytes
    mac: bytes

    @classmethod
    def read(cls, data: bytes) -> "Message":
        """Take a message apart.

        Raises: NotASignalMessage.
        """
        signed, mac = data[:-MAC_SIZE], data[-MAC_SIZE:]
        fields = _parse(_Message, signed, needed=("ratchet", "ciphertext"))
        return cls(_key(fields.ratchet), fields.counter, fields.ciphertext, signed, mac)


def signed_part(ratchet: bytes, counter: int, previous: int, ciphertext: bytes) -> bytes:
    """A message but for its MAC. `previous`: how many messages the sender's last chain had."""
    fields = _Message(
        ratchet=KEY_TYPE + ratchet, counter=counter, previous=previous, ciphertext=ciphertext
    )
    return VERSION + bytes(fields.SerializeToString())


@dataclass(frozen=True, slots=True)
class PreKeyHeader:
    """What a pre-key message says besides its message: what its reader needs to agree on keys."""

    registration_id: int
    one_time_id: int | None
    signed_id: int
    base_key: bytes
    identity: bytes

    def wrap(self, message: bytes) -> bytes:
        """The pre-key message that carries `message`."""
        fields = _PreKeyMessage(
            registration_id=self.registration_id,
            one_time_id=self.one_time_id,
            signed_id=self.signed_id,
            base_key=KEY_TYPE + self.base_key,
            identity=KEY_TYPE + self.identity,
            message=message,
        )
        return VERSION + bytes(fields.SerializeToString())


def read_pre_key_message(data: bytes) -> tuple[PreKeyHeader, Message]:
    """Take a pre-key message apart.

    Raises: NotASignalMessage.
    """
    fields = _parse(_PreKeyMessage, data, needed=("base_key", "identity", "message", "signed_id"))
    header = PreKeyHeader(
        registration_id=fields.registration_id,
        one_time_id=fields.one_time_id if fields.HasField("one_time_id") else None,
        signed_id=fields.signed_id,
        base_key=_key(fields.base_key),
        identity=_key(fields.identity),
    )
    return header, Message.read(fields.message)


def _parse(kind: Any, data: bytes, needed: tuple[str, ...]) -> Any:
    if data[:1] != VERSION:
        raise NotASignalMessage("not version 3")
    try:
        fields = kind.FromString(data[1:])
    except DecodeError:
        raise NotASignalMessage("not a protobuf") from None
    if missing := [name for name in needed if not fields.HasField(name)]:
        raise NotASignalMessage(f"without {', '.join(missing)}")
    return fields


def _key(typed: bytes) -> bytes:
    if len(typed) != 33 or typed[:1] != KEY_TYPE:
        raise NotASignalMessage("a public key is not of Curve25519")
    return typed[1:]
