"""Tokens: only what the portal signed, for us, and within its time, says who asks."""

import base64
import json
import time
from uuid import UUID

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from xinhuo.chassis.identity import tokens
from xinhuo.chassis.identity.actor import Actor, Reach
from xinhuo.chassis.identity.errors import IdentityUnavailable, RightMissing, TokenExpired, TokenInvalid
from xinhuo.chassis.identity.keyring import KeyRing
from xinhuo.chassis.identity.rights import RIGHTS, ROLES, reach_of, roles_with
from xinhuo.chassis.identity.tokens import Verifier, new_key, read_key, sign

KEY = new_key()
OTHER = new_key()
NOW = 1_800_000_000
VOLUNTEER = UUID(int=7)
OPERATOR = Actor(UUID(int=1), "unit_operator", unit="S01", scopes=frozenset({"hours:log"}))
GUARDIAN = Actor(UUID(int=2), "guardian", wards=(UUID(int=8), VOLUNTEER))


def verifier(now=NOW, keys=None):
    known = {KEY.kid: read_key(KEY.public())} if keys is None else keys
    return Verifier(lambda _kid: known, now=lambda: now)


def forged(claims=None, header=None, key=KEY.key, algorithm=tokens.ALGORITHM, without=()):
    made = {
        "iss": "xinhuo", "aud": "xinhuo", "sub": str(UUID(int=1)), "iat": NOW, "exp": NOW + 600, "role": "clerk",
        **(claims or {}),
    }  # fmt: skip
    kept = {name: value for name, value in made.items() if name not in without}
    head = {"alg": algorithm, "kid": KEY.kid, "typ": tokens.TYPE, **(header or {})}
    return jwt.encode({name: value for name, value in head.items() if value}, kept, key, algorithms=[algorithm])


def part(content):
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("actor", [OPERATOR, GUARDIAN, Actor(UUID(int=3), "volunteer", volunteer=VOLUNTEER)])
def test_a_token_says_who_its_bearer_is(actor: Actor) -> None:
    assert verifier().actor_of(sign(actor, KEY, now=NOW)) == actor


def test_a_token_holds_nothing_but_codes_and_ids() -> None:
    payload = sign(GUARDIAN, KEY, now=NOW).split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert set(claims) == {"iss", "aud", "sub", "iat", "exp", "role", "wards"}


@pytest.mark.parametrize(
    ("seconds", "good"),
    [(0, True), (599, True), (659, True), (660, False), (100_000, False), (-60, True), (-61, False)],
)
def test_a_token_is_good_from_its_signing_to_its_end_with_a_minute_for_clocks_that_differ(seconds, good) -> None:
    token = sign(OPERATOR, KEY, now=NOW)
    checking = verifier(NOW + seconds)
    if good:
        assert checking.actor_of(token) == OPERATOR
    else:
        with pytest.raises(TokenExpired if seconds > 0 else TokenInvalid):
            checking.actor_of(token)


def test_a_token_that_was_good_ends_in_time_all_the_same() -> None:
    clock = [NOW]
    checking = Verifier(lambda _kid: KEYS, now=lambda: clock[0])
    token = sign(OPERATOR, KEY, now=NOW)
    assert checking.actor_of(token) == OPERATOR
    clock[0] = NOW + 661
    with pytest.raises(TokenExpired):
        checking.actor_of(token)


KEYS = {KEY.kid: read_key(KEY.public())}


def test_a_token_that_was_good_ends_with_the_key_it_was_signed_with() -> None:
    known = dict(KEYS)
    checking = Verifier(lambda _kid: known, now=lambda: NOW)
    token = sign(OPERATOR, KEY, now=NOW)
    assert checking.actor_of(token) == OPERATOR
    known.clear()
    with pytest.raises(TokenInvalid):
        checking.actor_of(token)


@pytest.mark.parametrize(
    "token",
    [
        "", "x", "..", "a.b.c", "a.b.c.d.e", "é.é.é", "\udcff", "A" * 5000,
        forged(key=OTHER.key),
        forged(header={"kid": OTHER.kid}),
        forged(header={"kid": None}),
        forged(header={"typ": "JWT"}),
        forged(header={"typ": None}),
        forged({"iss": "elsewhere"}),
        forged({"aud": "elsewhere"}),
        forged({"aud": []}),
        forged({"exp": "tomorrow"}),
        forged({"iat": NOW + 61}),
        forged({"nbf": NOW + 61}),
        forged({"sub": "me"}),
        forged({"sub": 1}),
        forged({"role": "root"}),
        forged({"role": ["clerk"]}),
        forged({"scopes": ["everything"]}),
        forged({"scopes": 3}),
        forged({"volunteer": "x"}),
        forged({"wards": "x"}),
        *(forged(without={name}) for name in ("iss", "aud", "sub", "iat", "exp", "role")),
        f"{part({'alg': 'none', 'kid': KEY.kid, 'typ': tokens.TYPE})}.{forged().split('.')[1]}.",
        forged(key=OctKey.import_key(KEY.public()["x"]), algorithm="HS256"),
        forged()[:-6] + "AAAAAA",
        forged().split(".")[0] + "." + part({"role": "bureau_admin"}) + "." + forged().split(".")[2],
    ],
)  # fmt: skip
def test_anything_else_is_no_token(token: str) -> None:
    with pytest.raises(TokenInvalid):
        verifier().actor_of(token)


def test_the_stored_key_signs_as_before() -> None:
    again = tokens.SigningKey(read_key(KEY.private()))
    assert again.kid == KEY.kid
    assert verifier().actor_of(sign(OPERATOR, again, now=NOW)) == OPERATOR


@pytest.mark.parametrize(
    "jwk", [{}, {"kty": "RSA"}, {"kty": "OKP", "crv": "X25519", "x": "AA"}, {"kty": "OKP", "crv": "Ed25519", "x": "!"}]
)
def test_only_ed25519_keys_are_read(jwk) -> None:
    with pytest.raises(ValueError, match="key"):
        read_key(jwk)


class Portal:
    """A portal that counts how often it is asked."""

    def __init__(self, *keys):
        self.keys, self.asked, self.away = list(keys), 0, False

    def __call__(self):
        self.asked += 1
        if self.away:
            raise ConnectionRefusedError
        return {"keys": [key.public() for key in self.keys]}


def test_keys_are_fetched_once_and_again_after_a_minute_or_for_a_new_one() -> None:
    portal, clock = Portal(KEY), [0.0]
    ring = KeyRing(portal, clock=lambda: clock[0])
    first = ring(KEY.kid)[KEY.kid]
    assert ring(KEY.kid)[KEY.kid] is first
    assert portal.asked == 1
    portal.keys.append(OTHER)
    clock[0] = 10
    assert set(ring(OTHER.kid)) == {KEY.kid, OTHER.kid}
    portal.keys.remove(KEY)
    clock[0] = 71
    assert set(ring(OTHER.kid)) == {OTHER.kid}
    assert portal.asked == 3


def test_whoever_names_keys_that_do_not_exist_does_not_make_us_ask_each_time() -> None:
    portal, clock = Portal(KEY), [0.0]
    ring = KeyRing(portal, clock=lambda: clock[0])
    for step in range(100):
        clock[0] = step / 10
        assert "none" not in ring("none")
    assert portal.asked <= 3


def test_keys_are_kept_while_the_portal_is_away_and_without_any_nobody_can_be_checked() -> None:
    portal, clock = Portal(KEY), [0.0]
    ring = KeyRing(portal, clock=lambda: clock[0])
    portal.away = True
    with pytest.raises(IdentityUnavailable):
        ring(KEY.kid)
    portal.away, clock[0] = False, 1.0
    first = ring(KEY.kid)[KEY.kid]
    portal.away, clock[0] = True, 1000.0
    assert ring(KEY.kid)[KEY.kid] is first


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"keys": None}, {"keys": [{}]}, {"keys": [{"kid": "a", "kty": "oct"}]}]
)
def test_an_answer_that_is_no_key_set_changes_nothing(answer) -> None:
    answers = [{"keys": [KEY.public()]}, answer]
    clock = [0.0]
    ring = KeyRing(lambda: answers.pop(0), clock=lambda: clock[0])
    ring(KEY.kid)
    clock[0] = 100.0
    assert set(ring(KEY.kid)) == {KEY.kid}
    assert not answers


def test_scopes_take_rights_away_and_give_none() -> None:
    assert reach_of(OPERATOR, "hours:log") is Reach.OWN
    assert reach_of(OPERATOR, "hours:import") is None, "the role has it, the key does not"
    greedy = Actor(UUID(int=1), "volunteer", scopes=frozenset(RIGHTS))
    assert reach_of(greedy, "hours:log") is None, "the key has it, the role does not"


def test_every_right_is_described_and_names_known_roles() -> None:
    for right, (zh, en, reaches) in RIGHTS.items():
        assert zh
        assert en
        assert set(reaches) <= set(ROLES), right
        assert roles_with(right), f"nobody has {right}"


def test_who_lacks_a_right_is_told_which_and_who_has_it() -> None:
    error = RightMissing(Actor(UUID(int=1), "clerk"), "hours:log")
    assert error.status == 403
    assert error.extra == {"right": "hours:log", "roles": ["unit_operator", "team_leader"]}
    assert "登记时数" in error.zh
    assert "单位操作员、队伍负责人" in error.zh
    assert "operator of a unit" in error.en
    narrow = RightMissing(OPERATOR, "hours:import")
    assert "范围" in narrow.zh


def test_the_time_of_a_token_is_that_of_now_by_itself() -> None:
    token = sign(OPERATOR, KEY, now=int(time.time()))
    assert Verifier(lambda _kid: KEYS).actor_of(token) == OPERATOR
