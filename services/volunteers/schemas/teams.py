"""What the API takes and shows of teams."""

from marshmallow import fields as mf

from xinhuo.chassis.web.schema import Code, Instant, Page, Schema, Text, Uuid


class CreateTeam(Schema):
    """A team of a unit."""

    code = Code(required=True)
    name = Text(required=True, max=100)
    unit_code = Code(required=True)


class Team(Schema):
    """A team and how many members it has."""

    code = Code()
    name = Text()
    unit_code = Code()
    members = mf.Integer()
    created_at = Instant()


class TeamQuery(Page):
    """Which teams to list."""

    unit = Code(load_default=None)


class AddMember(Schema):
    """The volunteer who joins."""

    volunteer_id = Uuid(required=True)


class Member(Schema):
    """A membership and since when it lasts."""

    team_code = Code()
    volunteer_id = Uuid()
    joined_at = Instant()
