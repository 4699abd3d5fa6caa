"""Everything that can go wrong, sorted by what the worker does about it.

::

    WorkerError
    |-- JobError            this job's own trouble; carries error_type and detail
    |   |-- Invalid         the publisher's mistake: dead-letter now
    |   |-- Refused         WhatsApp's final no: dead-letter now
    |   |-- Transient       surely not sent: try again later, an attempt is counted
    |   |   `-- Throttled   WhatsApp asks us to slow down
    |   `-- InDoubt         perhaps sent: ON_UNKNOWN decides
    |-- Unavailable         nobody's fault: pause, nothing is counted
    `-- Misconfigured       an operator's mistake: say it in one line, exit 78

Details are for people: they name the field, the rule and the fix, and never hold a phone number,
a message text or a secret.  `retry.py` turns a JobError into an outcome; nobody else decides.
"""

from enum import StrEnum


class ErrorType(StrEnum):
    """The closed set of reasons, used as metric label, log field and `x-error-type` header."""

    BAD_PROPERTIES = "bad_properties"
    TOO_LARGE = "too_large"
    UNSUPPORTED_CONTENT = "unsupported_content"
    MALFORMED = "malformed"
    INVALID_SCHEMA = "invalid_schema"
    INVALID_PHONE = "invalid_phone"
    INVALID_TEXT = "invalid_text"
    CONTENT_POLICY = "content_policy"
    KEY_CONFLICT = "key_conflict"
    NOT_ON_WHATSAPP = "not_on_whatsapp"
    REFUSED = "refused"
    SERVER_ERROR = "server_error"
    NETWORK = "network"
    NO_DEVICE = "no_device"
    THROTTLED = "throttled"
    INTERNAL = "internal"
    UNKNOWN_OUTCOME = "unknown_outcome"


class PauseReason(StrEnum):
    """Why no new work may start; each is a label value of `worker_paused`."""

    WHATSAPP = "whatsapp"
    THROTTLED = "throttled"
    LEDGER = "ledger"
    PUBLISHER = "publisher"
    DEAD_LETTERS = "dead_letters"
    DRAINING = "draining"


class WorkerError(Exception):
    """The root of this tree."""


class JobError(WorkerError):
    """A failure of one job.

    Args:
        error_type: the reason, from the closed set.
        detail: one sentence for a person, free of phone numbers, texts and secrets.
    """

    def __init__(self, error_type: ErrorType, detail: str) -> None:
        super().__init__(f"{error_type}: {detail}")
        self.error_type = error_type
        self.detail = detail


class Invalid(JobError):
    """The job can never be sent as it is: the publisher has to mend it."""


class Refused(JobError):
    """WhatsApp answered no, and would answer no again."""


class Transient(JobError):
    """The message was surely not sent, and a later try may succeed."""


class Throttled(Transient):
    """WhatsApp wants fewer messages from this account."""


class InDoubt(JobError):
    """The send has ended without an answer: the recipient may have the message or not."""

    def __init__(self, detail: str) -> None:
        super().__init__(ErrorType.UNKNOWN_OUTCOME, detail)


class Unavailable(WorkerError):
    """Something every job needs is away; the job was surely not sent and keeps its place.

    Args:
        reason: which part is away.
        detail: one sentence for a person.
    """

    def __init__(self, reason: PauseReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Misconfigured(WorkerError):
    """The operator has to change something before the worker can run."""


def failure_of(error_type: ErrorType, detail: str) -> JobError:
    """Build the failure of a job again from what was kept of it."""
    match error_type:
        case ErrorType.UNKNOWN_OUTCOME:
            return InDoubt(detail)
        case ErrorType.NOT_ON_WHATSAPP | ErrorType.REFUSED:
            return Refused(error_type, detail)
        case ErrorType.THROTTLED:
            return Throttled(error_type, detail)
        case _:
            return Transient(error_type, detail)
