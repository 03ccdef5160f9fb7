"""What the HTTP API of the portal accepts and returns."""

from typing import Any

import marshmallow as ma
from marshmallow import fields as mf

from xinhuo.chassis.web.schema import (
    Boolean,
    Choice,
    Code,
    Instant,
    Integer,
    ListOf,
    Nested,
    Page,
    Schema,
    Text,
    Uuid,
    by_rule,
    half_width,
)

from .domain import accounts, clients


class Password(Text):
    """A password as it was typed: nothing is trimmed, and every character is allowed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max=1000, **options)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text: str = mf.String._deserialize(self, value, attr, data, **kwargs)
        if not 1 <= len(text) <= 1000:
            raise ma.ValidationError("text.length|长度应为 1 至 1000 字|The length must be 1 to 1000.")
        return text


class Digits(Text):
    """The code of a second factor; full-width digits are read as ASCII."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        return super()._deserialize(half_width(value), attr, data, **kwargs)


def _unit_code(**options: Any) -> Text:
    return Text(max=64, validate=by_rule(accounts.check_unit_code), **options)


def _only_off(on: bool) -> None:
    if on:
        raise ma.ValidationError("field.out_of_range|只能为 false|This can only be false.")


class SignIn(Schema):
    """Login and password, and the code of the second factor where it is on."""

    login = Text(required=True)
    password = Password(required=True)
    code = Digits(max=10, load_default=None, allow_none=True)


class CallbackQuery(Schema):
    """What the directory sends a browser back with; directories add words of their own."""

    code = Text(max=4096, load_default=None)
    state = Text(required=True)

    class Meta:
        """Pass over what is not declared."""

        unknown = ma.EXCLUDE


class Refresh(Schema):
    """A refresh token."""

    refresh_token = Text(required=True)


class Activation(Schema):
    """The secret of a one-time link, and the password to be set."""

    secret = Text(required=True)
    password = Password(required=True)


class Activated(Schema):
    """The account whose password was set."""

    id = Uuid()
    login = Text()


class ClientKey(Schema):
    """An API key."""

    key = Text(required=True)


class _Bearer(Schema):
    id = Uuid()
    role = Text()
    unit_code = Text(allow_none=True)
    team_code = Text(allow_none=True)
    volunteer_id = Uuid(allow_none=True)


class AccessToken(Schema):
    """A token to be sent as ``Authorization: Bearer``; ``expires_in`` is in seconds."""

    access_token = Text()
    token_type = Text()
    expires_in = Integer()


class Tokens(AccessToken):
    """The tokens of a session: each refresh token is used once, for the next two."""

    refresh_token = Text()
    refresh_expires_at = Instant()
    account = Nested(_Bearer)


class KeySet(Schema):
    """A JSON Web Key Set (RFC 7517)."""

    keys = mf.List(mf.Dict())


class Me(_Bearer):
    """Who asks: an account, or an API client with its scopes."""

    kind = Choice(("account", "client"))
    login = Text(allow_none=True)
    display_name = Text(allow_none=True)
    department_code = Text(allow_none=True)
    wards = ListOf(Uuid())
    scopes = ListOf(Text(), allow_none=True)
    state = Text()
    second_factor = Boolean()


class ChangePassword(Schema):
    """The present password and the one to be set."""

    old = Password(required=True)
    new = Password(required=True)


class Nothing(Schema):
    """An empty object."""


class NewFactor(Schema):
    """The secret of a second factor that waits for its first code; shown once."""

    secret = Text()
    otpauth_uri = Text()


class FactorCode(Schema):
    """The six digits that the authenticator shows."""

    code = Digits(max=10, required=True)


class PresentPassword(Schema):
    """The present password."""

    password = Password(required=True)


class OwnSession(Schema):
    """A session of one's own."""

    id = Uuid()
    created_at = Instant()
    used_at = Instant()
    expires_at = Instant()


class _AccountFields(Schema):
    display_name = Text(max=60, allow_none=True)
    unit_code = _unit_code(allow_none=True)
    team_code = Code(allow_none=True)
    volunteer_id = Uuid(allow_none=True)
    wards = ListOf(Uuid(), max=20)


class CreateAccount(_AccountFields):
    """An account to make."""

    login = Text(max=200, required=True, validate=by_rule(accounts.check_login))
    role = Choice(accounts.ROLES, required=True)


class ChangeAccount(_AccountFields):
    """What to change about an account; ``second_factor: false`` takes a lost one off."""

    role = Choice(accounts.ROLES)
    state = Choice(("active", "disabled"))
    second_factor = Boolean(validate=_only_off)
    oidc_subject = Text(max=255, allow_none=True)


class Account(_AccountFields):
    """An account; the name is shown to those who manage accounts."""

    id = Uuid()
    login = Text()
    role = Text()
    state = Text()
    second_factor = Boolean()
    oidc_subject = Text(allow_none=True)
    revision = Integer()
    created_by = Uuid(allow_none=True)
    created_at = Instant()
    changed_at = Instant()


class Link(Schema):
    """A one-time link's secret, shown once."""

    secret = Text()
    expires_at = Instant()


class NewAccount(Account):
    """A new account with the link for its first password."""

    activation = Nested(Link)


class AccountsQuery(Page):
    """Which accounts to list."""

    role = Choice(accounts.ROLES)
    unit = _unit_code()
    state = Choice(accounts.STATES)


class CreateClient(Schema):
    """An API client to make; ``scopes`` are the rights of its role that it gets."""

    name = Text(max=100, required=True)
    role = Choice(clients.ROLES, required=True)
    department_code = Code(allow_none=True)
    unit_code = _unit_code(allow_none=True)
    team_code = Code(allow_none=True)
    scopes = ListOf(Text(max=64), min=1, max=50, required=True)


class ChangeClient(Schema):
    """What to change about an API client."""

    name = Text(max=100)
    scopes = ListOf(Text(max=64), min=1, max=50)
    state = Choice(clients.STATES)


class Client(Schema):
    """An API client."""

    id = Uuid()
    name = Text()
    role = Text()
    department_code = Text(allow_none=True)
    unit_code = Text(allow_none=True)
    team_code = Text(allow_none=True)
    scopes = ListOf(Text())
    state = Text()
    revision = Integer()
    created_by = Uuid(allow_none=True)
    created_at = Instant()
    changed_at = Instant()


class KeyOfClient(Schema):
    """What is kept of an API key."""

    prefix = Text()
    created_at = Instant()
    expires_at = Instant()
    revoked_at = Instant(allow_none=True)
    last_used_at = Instant(allow_none=True)


class ClientWithKeys(Client):
    """An API client with its keys."""

    keys = ListOf(Nested(KeyOfClient))


class NewKey(KeyOfClient):
    """A new API key, shown once."""

    key = Text()


class ClientsQuery(Page):
    """Which API clients to list."""

    role = Choice(clients.ROLES)
    state = Choice(clients.STATES)


class CreateKey(Schema):
    """For how many days the key is good."""

    days = Integer(min=1, max=clients.MOST_DAYS, load_default=clients.DEFAULT_DAYS)


class RotateKey(CreateKey):
    """For how many hours the old key stays good beside the new one."""

    overlap_hours = Integer(min=0, max=clients.MOST_OVERLAP_HOURS, load_default=clients.DEFAULT_OVERLAP_HOURS)
