"""The ways into volunteers: each method calls one use case."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.db import database_now
from xinhuo.chassis.errors import InvalidInput, RuleError
from xinhuo.chassis.markers import Submission, http, subscribe
from xinhuo.chassis.metrics import Figure
from xinhuo.chassis.reconcile.compare import PATIENCE
from xinhuo.chassis.reconcile.entrypoints import Books, NightlyReconciliation
from xinhuo.chassis.reconcile.results import Result
from xinhuo.chassis.service import Service
from xinhuo.chassis.web.pages import Answer, Listed
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.notices import NoticeIssued, UnitChanged, UnitRegistered
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed

from . import answers, domain, reconciliation
from . import figures as campaign
from .claims_service import HOURS_ERRORS, ClaimEntrypoints
from .commands import activities as activity_commands
from .commands import hours as hours_commands
from .commands import known, people, retention, teams
from .commands import statistics as statistics_commands
from .domain import registry
from .domain.rights import PersonErased
from .domain.tags import TagUnknown
from .imports_service import ImportEntrypoints
from .models import Entry, Served
from .persons_service import PersonEntrypoints
from .queries import activities as activity_queries
from .queries import hours as hours_queries
from .queries import people as people_queries
from .queries import statistics as statistics_queries
from .queries import statistics_workbook
from .queries import teams as team_queries
from .register_service import RegisterEntrypoints
from .schemas import activities as activity_schemas
from .schemas import hours as hours_schemas
from .schemas import people as people_schemas
from .schemas import statistics as statistics_schemas
from .schemas import teams as team_schemas


class Volunteers(
    ImportEntrypoints, PersonEntrypoints, RegisterEntrypoints, ClaimEntrypoints, Books, NightlyReconciliation, Service
):
    """People, teams, activities, the ledger of hours, imports into it, and the statistics made of it."""

    name: ClassVar[str] = "volunteers"
    books = reconciliation.BOOKS
    removals = retention.REMOVALS

    def key_fits(self, session: Session) -> bool:
        """See ``Service``: another key would register everybody a second time, unreadable to the others."""
        return people_queries.key_fits(session, self.runtime.keys)

    def compare_tables(self, patience: timedelta = PATIENCE) -> list[Result]:
        """Compare what the tables of this service say among themselves."""
        return reconciliation.compare_statistics(self.runtime.db, patience)

    def figures(self, session: Session) -> Iterable[Figure]:
        """See ``Service``."""
        return campaign.figures(session)

    # --- People -------------------------------------------------------------------------------------------

    @http(
        "POST",
        "/v1/volunteers",
        right="people:register",
        accepts=people_schemas.RegisterVolunteer,
        returns=people_schemas.VolunteerWithTotal,
        status=201,
        errors=(
            domain.InvalidName,
            domain.InvalidIdNumber,
            domain.FifteenDigitId,
            domain.WrongCheckDigit,
            domain.InvalidPhone,
            domain.BirthDateMismatch,
            domain.SexMismatch,
            domain.UnitUnknown,
            domain.TeamUnknown,
            domain.VolunteerExists,
            TagUnknown,
        ),
    )
    def register_volunteer(self, session: Session, body: dict[str, Any]) -> Answer:
        """Register a person, who then waits for verification; a child without a guardian's consent waits for that."""
        keys = self.runtime.keys
        volunteer_id = people.register_volunteer(session, keys, body, now=database_now(session))
        shown = people_queries.volunteer(session, keys, volunteer_id)
        return Answer(shown, headers={"Location": f"/v1/volunteers/{volunteer_id}"})

    @http(
        "POST",
        "/v1/volunteers/{id:uuid}:verify",
        right="people:verify",
        returns=people_schemas.VolunteerWithTotal,
        errors=(domain.VolunteerNotFound, domain.ConsentRequired, domain.VolunteerNotVerified),
    )
    def verify_volunteer(self, session: Session, id: UUID) -> dict[str, Any]:
        """Note that the person's identity was checked."""
        people.verify_volunteer(session, id, now=database_now(session))
        return people_queries.volunteer(session, self.runtime.keys, id)

    @http(
        "GET",
        "/v1/volunteers/{id:uuid}",
        right="people:read",
        returns=people_schemas.VolunteerWithTotal,
        errors=(domain.VolunteerNotFound,),
    )
    def volunteer(self, session: Session, id: UUID) -> dict[str, Any]:
        """Return a volunteer with what counts in the ledger."""
        return people_queries.volunteer(session, self.runtime.keys, id)

    @http(
        "GET",
        "/v1/volunteers",
        right="people:read",
        query=people_schemas.VolunteerQuery,
        returns=people_schemas.Volunteer,
    )
    def volunteers(self, session: Session, query: dict[str, Any]) -> Listed:
        """List volunteers."""
        return people_queries.volunteers_list(session, self.runtime.keys, query)

    # --- Teams --------------------------------------------------------------------------------------------

    @http(
        "POST",
        "/v1/teams",
        right="teams:write",
        accepts=team_schemas.CreateTeam,
        returns=team_schemas.Team,
        status=201,
        errors=(domain.UnitUnknown, domain.TeamCodeTaken),
    )
    def create_team(self, session: Session, body: dict[str, Any]) -> Answer:
        """Register a team."""
        code = teams.create_team(session, body, now=database_now(session))
        return Answer(team_queries.team(session, code), headers={"Location": f"/v1/teams/{code}"})

    @http("GET", "/v1/teams/{code}", right="teams:read", returns=team_schemas.Team, errors=(registry.TeamNotFound,))
    def team(self, session: Session, code: str) -> dict[str, Any]:
        """Return a team."""
        return team_queries.team(session, code)

    @http("GET", "/v1/teams", right="teams:read", query=team_schemas.TeamQuery, returns=team_schemas.Team)
    def teams(self, session: Session, query: dict[str, Any]) -> Listed:
        """List teams."""
        return team_queries.teams_list(session, query)

    @http(
        "POST",
        "/v1/teams/{code}/members",
        right="people:register",
        accepts=team_schemas.AddMember,
        returns=team_schemas.Member,
        errors=(
            registry.TeamNotFound,
            domain.VolunteerUnknown,
            domain.ConsentRequired,
            domain.VolunteerNotVerified,
            PersonErased,
        ),
    )
    def add_member(self, session: Session, code: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make a volunteer a member of a team."""
        return teams.add_member(session, code, body["volunteer_id"], now=database_now(session))

    # --- Activities ---------------------------------------------------------------------------------------

    @http(
        "POST",
        "/v1/activities",
        right="activities:write",
        accepts=activity_schemas.CreateActivity,
        returns=activity_schemas.Activity,
        status=201,
        errors=(
            domain.TeamUnknown,
            domain.UnitUnknown,
            domain.NoticeUnknown,
            domain.CategoryNotInNotice,
            domain.InvalidActivityTime,
            registry.ActivityNumberTaken,
        ),
    )
    def create_activity(self, session: Session, body: dict[str, Any]) -> Answer:
        """Register an activity, past ones included."""
        activity_id = activity_commands.create_activity(session, body, now=database_now(session))
        shown = activity_queries.activity(session, activity_id)
        return Answer(shown, headers={"Location": f"/v1/activities/{activity_id}"})

    @http(
        "GET",
        "/v1/activities/{id:uuid}",
        right="activities:read",
        returns=activity_schemas.Activity,
        errors=(domain.ActivityNotFound,),
    )
    def activity(self, session: Session, id: UUID) -> dict[str, Any]:
        """Return an activity."""
        return activity_queries.activity(session, id)

    @http(
        "GET",
        "/v1/activities",
        right="activities:read",
        query=activity_schemas.ActivityQuery,
        returns=activity_schemas.Activity,
    )
    def activities(self, session: Session, query: dict[str, Any]) -> Listed:
        """List activities."""
        return activity_queries.activities_list(session, query)

    # --- Hours --------------------------------------------------------------------------------------------

    @http(
        "POST",
        "/v1/hours",
        right="hours:log",
        accepts=hours_schemas.LogHours,
        returns=hours_schemas.LedgerEntry,
        status=201,
        also=(200,),
        coalesce=True,
        errors=HOURS_ERRORS,
    )
    def log_hours(self, session: Session, submitted: Sequence[Submission]) -> list[Answer | RuleError]:
        """Enter service time: 201 with the new entry, or 200 with the one that says the same."""
        outcomes = hours_commands.log_hours(
            session,
            [one.body for one in submitted],
            by=[one.access for one in submitted],
            traces=[one.traceparent for one in submitted],
        )
        return [answers.of_one(outcome) for outcome in outcomes]

    @http(
        "POST",
        "/v1/hours:batch",
        right="hours:log",
        accepts=hours_schemas.LogHoursBatch,
        returns=hours_schemas.BatchResult,
        errors=HOURS_ERRORS,
        at_once=3,
    )
    def log_hours_batch(self, session: Session, body: dict[str, Sequence[Served | InvalidInput]]) -> Answer:
        """Enter up to 1,000 items of service time, each for itself; the answer has one result for each."""
        items = body["items"]
        return answers.of_batch(hours_commands.log_loaded(session, items))

    @http(
        "GET",
        "/v1/hours/{id:uuid}",
        right="hours:read",
        returns=hours_schemas.LedgerEntry,
        errors=(domain.EntryNotFound,),
    )
    def entry(self, session: Session, id: UUID) -> Entry:
        """Return an entry or reversal."""
        return hours_queries.entry(session, id)

    @http("GET", "/v1/hours", right="hours:read", query=hours_schemas.EntryQuery, returns=hours_schemas.LedgerEntry)
    def entries(self, session: Session, query: dict[str, Any]) -> Listed:
        """List entries and reversals, the newest first."""
        return hours_queries.entries(session, query)

    # --- Statistics ---------------------------------------------------------------------------------------

    @http(
        "GET",
        "/v1/statistics",
        right="statistics:read",
        query=statistics_schemas.StatisticsQuery,
        returns=statistics_schemas.StatisticsRow,
        errors=(domain.StatisticsOfPersons,),
    )
    def statistics(self, session: Session, query: dict[str, Any]) -> Listed:
        """Return minutes and entries by group, with the totals of all pages."""
        return statistics_queries.statistics(session, query)

    @http(
        "GET",
        "/v1/statistics.xlsx",
        right="statistics:read",
        query=statistics_schemas.StatisticsExport,
        produces=statistics_workbook.CONTENT_TYPE,
        errors=(domain.StatisticsOfPersons,),
    )
    def statistics_workbook(self, session: Session, query: dict[str, Any]) -> Answer:
        """Return the same as a workbook."""
        raw = statistics_workbook.statistics_workbook(session, query, now=database_now(session))
        return Answer(
            raw=raw,
            content_type=statistics_workbook.CONTENT_TYPE,
            headers={"Content-Disposition": statistics_workbook.DISPOSITION},
        )

    # --- What is announced --------------------------------------------------------------------------------

    @subscribe(UnitRegistered, UnitChanged)
    def follow_units(self, session: Session, envelopes: list[Envelope]) -> None:
        """Keep the units at hand."""
        known.follow_units(session, envelopes)

    @subscribe(NoticeIssued)
    def open_categories(self, session: Session, envelopes: list[Envelope]) -> None:
        """Keep the categories that notices opened."""
        known.open_categories(session, envelopes)

    @subscribe(HoursLogged, HoursReversed, gather=0.25)
    def keep_statistics(self, session: Session, envelopes: list[Envelope]) -> None:
        """Keep the statistics equal to the ledger."""
        statistics_commands.keep_statistics(session, envelopes)
