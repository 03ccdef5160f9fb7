"""The keys that sign tokens: each for 30 days, shown before and after, then forgotten."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from joserfc.jwk import OKPKey
from sqlalchemy.orm import Session

from xinhuo.chassis.db import Database, DatabaseUnavailable, database_now
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.identity.tokens import LEEWAY_SECONDS, LIFETIME_SECONDS, SigningKey, new_key, read_key, sign
from xinhuo.chassis.security import Keys

from .models import signing_keys

PLACE = "signing_keys.private"
SIGNS = timedelta(days=30)
#: The next key is shown at least so long before it signs; the job that makes it runs once a day.
SHOWN_BEFORE = timedelta(days=1)
_MADE_BEFORE = SHOWN_BEFORE + timedelta(days=1)
#: What was signed last can still be checked for so long after.
SHOWN_AFTER = timedelta(seconds=LIFETIME_SECONDS + LEEWAY_SECONDS) + timedelta(hours=1)
#: How long a key that was taken away is still taken for good.
FRESH_SECONDS = 10.0
_LONGEST_ID = 64
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('portal.signing_keys'))")


def token_for(session: Session, keys: Keys, actor: Actor, now: datetime) -> str:
    """Return a token of an actor, good for LIFETIME_SECONDS, signed with the key of the present time."""
    return sign(actor, current(session, keys, now), now=int(now.timestamp()))


def current(session: Session, keys: Keys, now: datetime) -> SigningKey:
    """Return the key that signs now; the very first one, or one after a long standstill, is made at once."""
    row = _signing(session, now)
    if row is None:
        now = _locked(session)
        row = _signing(session, now) or _make(session, keys, now, now)
    return SigningKey(read_key(msgspec.json.decode(keys.decrypt(row["private"], PLACE))))


def rotate(session: Session, keys: Keys) -> None:
    """Make the next key when the present one is near its end; forget those that nothing is checked with any more."""
    now = _locked(session)
    row = _signing(session, now) or _make(session, keys, now, now)
    last = session.scalar(sa.select(sa.func.max(signing_keys.c.signs_until)))
    if last == row["signs_until"] and last - now <= _MADE_BEFORE:
        _make(session, keys, now, last)
    session.execute(sa.delete(signing_keys).where(signing_keys.c.shown_until <= now))


def shown(session: Session, keys: Keys, now: datetime) -> dict[str, Any]:
    """Return the key set: the public halves of the keys that sign, are going to, or did lately."""
    current(session, keys, now)
    wanted = sa.select(signing_keys.c.public).where(signing_keys.c.shown_until > now)
    return {"keys": list(session.scalars(wanted.order_by(signing_keys.c.signs_from)))}


def _locked(session: Session) -> datetime:
    """Wait for one's turn to make keys; return the time after that: before, another may just have made one."""
    session.execute(_LOCK)
    return database_now(session)


def _signing(session: Session, now: datetime) -> Mapping[Any, Any] | None:
    of = signing_keys.c
    wanted = sa.select(signing_keys).where(of.signs_from <= now, of.signs_until > now)
    return session.execute(wanted.order_by(of.signs_from).limit(1)).mappings().one_or_none()


def _make(session: Session, keys: Keys, now: datetime, signs_from: datetime) -> dict[str, Any]:
    key = new_key()
    row = {
        "kid": key.kid,
        "public": key.public(),
        "private": keys.encrypt(msgspec.json.encode(key.private()).decode(), PLACE),
        "made_at": now,
        "signs_from": signs_from,
        "signs_until": signs_from + SIGNS,
        "shown_until": signs_from + SIGNS + SHOWN_AFTER,
    }
    session.execute(sa.insert(signing_keys).values(**row))
    return row


class OwnKeys:
    """The public keys in the portal's own table (a ``tokens.KeySource``); may be shared by threads.

    They are read again after ten seconds, and whenever a token names one that is not known: another process may
    just have made it. While the database is away, the known ones serve on.
    """

    def __init__(self, db: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, OKPKey] = {}
        self._read_at = float("-inf")

    def __call__(self, kid: str) -> Mapping[str, OKPKey]:
        """Return the keys by their id; raises DatabaseUnavailable when there is none and none can be read."""
        unknown = kid not in self._keys and len(kid) <= _LONGEST_ID
        if unknown or self._clock() - self._read_at > FRESH_SECONDS:
            self._read()
        return self._keys

    def _read(self) -> None:
        try:
            with self._db.transaction() as session:
                shown_now = signing_keys.c.shown_until > sa.func.clock_timestamp()
                rows = session.execute(sa.select(signing_keys.c.kid, signing_keys.c.public).where(shown_now)).all()
        except DatabaseUnavailable:
            if not self._keys:
                raise
            return
        with self._lock:
            # The same key stays the same object: tokens that were checked with it need no second look.
            self._keys = {kid: self._keys.get(kid) or read_key(public) for kid, public in rows}
            self._read_at = self._clock()
