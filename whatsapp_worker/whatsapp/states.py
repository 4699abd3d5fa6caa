"""The states of the WhatsApp session, and what is done in each: pure, to be read as a table.

===========  ======================================  ==========================================
state        what it is                              what is done
===========  ======================================  ==========================================
starting     connecting for the first time           connect anew with growing pauses
pairing      no phone is linked                      rounds of codes for ever, pauses between
online       messages can be sent                    -
reconnecting the connection is lost                  the library first, after a while ourselves
replaced     another client opened the session       nothing: it would only be fought over;
                                                     a restart or `pair` takes it back
banned       shut out for a while                    wait until the time is over
restricted   login refused, no end given             try again slowly
logged_out   the pairing was ended                   pair again (jobs wait in the queue)
outdated     WhatsApp wants a newer library          nothing: upgrade; `pair` tries once more
failed       connecting fails, cause not known       try again slowly
stopped      the worker stops                        -
===========  ======================================  ==========================================

Sources: DESIGN 7 and the measured behaviour of neonize 0.5.2.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from whatsapp_worker.whatsapp import events


class WhatsAppState(StrEnum):
    """The closed set of states, as `/healthz`, metrics and logs name them."""

    STARTING = "starting"
    PAIRING = "pairing"
    ONLINE = "online"
    RECONNECTING = "reconnecting"
    REPLACED = "replaced"
    BANNED = "banned"
    RESTRICTED = "restricted"
    LOGGED_OUT = "logged_out"
    OUTDATED = "outdated"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Status:
    """Where the session stands.

    Attributes:
        state: one of the closed set.
        why: one sentence for a person.
        failures: connections or pairing rounds in a row that led nowhere; sets the next pause.
    """

    state: WhatsAppState
    why: str
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave connection and timer as they are."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Leave the connection; nothing is waited for."""


@dataclass(frozen=True, slots=True)
class Expect:
    """Leave the connection, and be told (`Overdue`) when nothing has happened in these seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Redial:
    """Hang up now, and connect anew after these seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class HangUp:
    """Hang up, and stay so."""


Action = Keep | Rest | Expect | Redial | HangUp
Step = tuple[Status, Action]

# Seconds.  A login takes 0.2 s, a first one with all its keys 8 s (measured); dials may hang.
LOGIN_LIMIT = 90.0
# After this many limits in a row the library is given no more time: its own tries are rare by then.
LONGEST_LOGIN = 4
# The library's own pauses grow by 2 s with every try (measured).  They are longer than ours from an
# outage of about a quarter of an hour on, and have no end.
RECONNECT_LIMIT = 30.0
LONGEST_OUTAGE_PAUSE = 60.0
# A code that has expired may linger this long before the round counts as over.
CODE_GRACE = 15.0
# WhatsApp's clock and ours may differ when a ban ends.
BAN_MARGIN = 5.0
BAN_SHORTEST = 60.0

_AGAIN = "run `whatsapp-worker pair` or restart the worker"
_STATES = WhatsAppState
# Not yet linked or logged in, and on the way there.
_BEGINNING = (WhatsAppState.STARTING, WhatsAppState.PAIRING, WhatsAppState.LOGGED_OUT)


def login_limit(failures: int) -> float:
    """Seconds for a login: longer after failures, because the library tries on its own as well."""
    return LOGIN_LIMIT * min(1 + failures, LONGEST_LOGIN)


def pause_after_outage(failures: int) -> float:
    """Seconds before connecting anew: 2, 4, 8 ... up to a minute."""
    return min(2.0 * 2.0 ** min(failures, 10), LONGEST_OUTAGE_PAUSE)


def pause_after_round(failures: int) -> float:
    """Seconds before new codes: 2, 8, 32 ... up to ten minutes, for each round leaks threads."""
    return min(2.0 * 4.0 ** min(failures, 10), 600.0)


def pause_after_refusal(failures: int) -> float:
    """Seconds before asking again after a no: 1, 2, 4 ... up to thirty minutes."""
    return min(60.0 * 2.0 ** min(failures, 10), 1800.0)


INITIAL = Status(WhatsAppState.STARTING, "connecting to WhatsApp")


def advance(status: Status, event: events.Event) -> Step:  # noqa: C901  One row per event.
    """Take one event: the next status, and what to do about it."""
    match event:
        case events.Dialled():
            return _dialled(status), Expect(login_limit(status.failures))
        case events.CodeShown(seconds=seconds):
            why = "no phone is linked: run `whatsapp-worker pair` and scan the code"
            return Status(_STATES.PAIRING, why, status.failures), Expect(seconds + CODE_GRACE)
        case events.Paired():
            return Status(_STATES.STARTING, "paired, logging in"), Expect(LOGIN_LIMIT)
        case events.Online():
            return Status(_STATES.ONLINE, "logged in"), Rest()
        case events.Offline():
            return _lost(status)
        case events.PairingFailed():
            return _round_over(status)
        case events.Overdue():
            return _overdue(status)
        case events.Unreachable(why=why):
            return _unreachable(status, why)
        case events.Asked():
            return _asked(status)
        case events.Closed():
            return Status(_STATES.STOPPED, "the worker is stopping"), HangUp()
        case _:
            return _refused(status, event)


def _refused(status: Status, refusal: events.Refusal) -> Step:
    """WhatsApp said no, and the library tries no more: a policy for each."""
    failures = status.failures + 1
    slowly = Redial(pause_after_refusal(status.failures))
    match refusal:
        case events.Replaced():
            why = f"another client took over this session; {_AGAIN} to take it back"
            return Status(_STATES.REPLACED, why), HangUp()
        case events.Banned(seconds=seconds, why=why):
            wait = max(seconds, BAN_SHORTEST) + BAN_MARGIN
            why = f"WhatsApp bans this account {why}"
            return Status(_STATES.BANNED, why, failures), Redial(wait)
        case events.LoggedOut(why=why):
            pause = pause_after_round(status.failures)
            return Status(_STATES.LOGGED_OUT, f"{why}; pair again", failures), Redial(pause)
        case events.Restricted(why=why):
            return Status(_STATES.RESTRICTED, f"{why}; trying again slowly", failures), slowly
        case events.Failed(why=why):
            return Status(_STATES.FAILED, f"{why}; trying again slowly", failures), slowly
        case events.Outdated():
            why = "WhatsApp wants a newer client: upgrade whatsapp-worker (its neonize)"
            return Status(_STATES.OUTDATED, why), HangUp()
        case _:
            assert_never(refusal)


def _dialled(status: Status) -> Status:
    """A new try ends what was waited out; what is being tried for longer is no news."""
    if status.state in (*_BEGINNING, _STATES.RECONNECTING):
        return status
    return Status(_STATES.RECONNECTING, "connecting to WhatsApp anew", status.failures)


def _away(status: Status) -> WhatsAppState:
    """What to call it while connecting: who was never in is not coming back."""
    return status.state if status.state in _BEGINNING else _STATES.RECONNECTING


def _unreachable(status: Status, why: str) -> Step:
    lost = Status(_away(status), f"{why}; connecting anew", status.failures + 1)
    return lost, Redial(pause_after_outage(status.failures))


def _lost(status: Status) -> Step:
    """The library reconnects by itself; only what was online can be lost."""
    if status.state is not _STATES.ONLINE:
        return status, Keep()
    lost = Status(_STATES.RECONNECTING, "the connection to WhatsApp is lost; reconnecting")
    return lost, Expect(RECONNECT_LIMIT)


def _round_over(status: Status) -> Step:
    if status.state not in (_STATES.PAIRING, _STATES.LOGGED_OUT):
        return status, Keep()
    pause = pause_after_round(status.failures)
    why = (
        f"no phone was linked; the next code comes in {pause:.0f} s, or with `whatsapp-worker pair`"
    )
    return Status(_STATES.PAIRING, why, status.failures + 1), Redial(pause)


def _overdue(status: Status) -> Step:
    if status.state is _STATES.PAIRING:
        return _round_over(status)
    why = "WhatsApp did not let us in within the time allowed; connecting anew"
    return Status(_away(status), why, status.failures + 1), Redial(0.0)


def _asked(status: Status) -> Step:
    """A person takes the session back, or wants codes now; a ban they cannot shorten."""
    if status.state in (_STATES.BANNED, _STATES.ONLINE, _STATES.STOPPED):
        return status, Keep()
    return Status(_away(status), "connecting, because somebody asked"), Redial(0.0)
