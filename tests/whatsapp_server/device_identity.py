"""What makes a client a linked device: the phone signs its identity, and it signs the phone's.

Two signatures over the same details, each with a prefix of its own, and an HMAC under the secret
that only the phone and the client know: "ADV", as whatsmeow checks it.
"""

import hmac
import secrets
import time
from dataclasses import dataclass

from tests.whatsapp_server.curve import KeyPair, verify
from tests.whatsapp_server.installed import adv

ACCOUNT_PREFIX, DEVICE_PREFIX = b"\6\0", b"\6\1"


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """The phone's word about one device.

    Attributes:
        details: what both sides sign.
    """

    phone: KeyPair
    device: bytes
    details: bytes

    @classmethod
    def of(cls, phone: KeyPair, device: bytes, number: int) -> "DeviceIdentity":
        """Agree that the client with this identity key is the phone's device of this number."""
        details = adv.ADVDeviceIdentity(
            rawID=secrets.randbits(31), timestamp=int(time.time()), keyIndex=number
        )
        return cls(phone, device, details.SerializeToString())

    def sealed(self, secret: bytes) -> bytes:
        """The phone's half, for the client."""
        signed = adv.ADVSignedDeviceIdentity(
            details=self.details,
            accountSignatureKey=self.phone.public,
            accountSignature=self.phone.sign(ACCOUNT_PREFIX + self.details + self.device),
        ).SerializeToString()
        seal = hmac.digest(secret, signed, "sha256")
        return bytes(adv.ADVSignedDeviceIdentityHMAC(details=signed, HMAC=seal).SerializeToString())

    def confirmed_by(self, answer: bytes) -> bool:
        """Whether the client's half is signed by the client."""
        signed = adv.ADVSignedDeviceIdentity.FromString(answer)
        message = DEVICE_PREFIX + self.details + self.device + self.phone.public
        return verify(self.device, message, signed.deviceSignature)
