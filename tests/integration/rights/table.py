"""What each role may do at each route, written by hand from the office's rules of rights and from nothing in the code.

A  everything            O  what is of the own unit and the units under it      T  what is of the own team
S  what is of oneself    C  what is of one's wards                              P  what everybody may see
U  what is of the own unit, and not of those under it            M  one's own account, or client
N  has no account: 404                                           -  nothing: 403, which names the right
A service that gets a route gets a line here, and a way to ask for it in ``ways``.
"""

from dataclasses import dataclass

ROLES = (
    "bureau_admin", "clerk", "unit_operator", "team_leader", "volunteer", "guardian",
    "auditor", "privacy_officer", "department", "ops", "service",
)  # fmt: skip

# Columns: administrator, clerk, operator of a unit, leader of a team, volunteer, guardian, auditor, data-protection
# officer, department, operator of the system, service.
_LINES = """
                                                                                        ad cl op le vo gu au dp de os se
notices    POST  /v1/units                                        units:write           A  A  -  -  -  -  -  -  -  -  -
notices    PATCH /v1/units/{code}                                 units:write           A  A  -  -  -  -  -  -  -  -  -
notices    GET   /v1/units                                        units:read            A  A  O  O  P  P  A  A  -  -  A
notices    GET   /v1/units/{code}                                 units:read            A  A  O  O  P  P  A  A  -  -  A
notices    POST  /v1/notices                                      notices:write         A  A  -  -  -  -  -  -  -  -  -
notices    PATCH /v1/notices/{id:uuid}                            notices:write         A  A  -  -  -  -  -  -  -  -  -
notices    POST  /v1/notices/{id:uuid}:issue                      notices:write         A  A  -  -  -  -  -  -  -  -  -
notices    GET   /v1/notices                                      notices:read          A  A  O  O  P  P  A  A  -  -  A
notices    GET   /v1/notices/{id:uuid}                            notices:read          A  A  O  O  P  P  A  A  -  -  A
notices    GET   /v1/notices/{id:uuid}/obligations                obligations:read      A  A  O  -  -  -  A  -  -  -  -
notices    GET   /v1/dead-letters/groups                          dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
notices    GET   /v1/dead-letters                                 dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
notices    GET   /v1/dead-letters/{id:uuid}                       dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
notices    POST  /v1/dead-letters:retry                           dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
notices    POST  /v1/dead-letters:drop                            dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
notices    GET   /v1/audit                                        audit:read            -  -  -  -  S  C  A  A  -  -  -
notices    GET   /v1/audit.csv                                    audit:read            -  -  -  -  S  C  A  A  -  -  -

volunteers POST  /v1/volunteers                                   people:register       A  A  O  T  -  -  -  -  -  -  -
volunteers POST  /v1/volunteers/{id:uuid}:verify                  people:verify         A  A  O  -  -  -  -  -  -  -  -
volunteers POST  /v1/volunteers/{id:uuid}:suspend                 people:verify         A  A  O  -  -  -  -  -  -  -  -
volunteers POST  /v1/volunteers/{id:uuid}:resume                  people:verify         A  A  O  -  -  -  -  -  -  -  -
volunteers POST  /v1/volunteers/{id:uuid}:leave                   people:leave          A  A  O  -  S  C  -  -  -  -  -
volunteers POST  /v1/volunteers/{id:uuid}:correct                 people:correct        A  A  O  T  S  C  -  -  -  -  -
volunteers GET   /v1/volunteers/{id:uuid}/corrections             people:read           A  A  O  T  S  C  A  A  -  -  -
volunteers GET   /v1/person-tags                                  rules:read            A  A  A  -  -  -  A  A  -  -  A
volunteers GET   /v1/volunteers/{id:uuid}                         people:read           A  A  O  T  S  C  A  A  -  -  -
volunteers GET   /v1/volunteers                                   people:read           A  A  O  T  S  C  A  A  -  -  -
volunteers POST  /v1/teams                                        teams:write           A  A  O  -  -  -  -  -  -  -  -
volunteers GET   /v1/teams/{code}                                 teams:read            A  A  O  T  P  P  A  A  -  -  -
volunteers GET   /v1/teams                                        teams:read            A  A  O  T  P  P  A  A  -  -  -
volunteers POST  /v1/teams/{code}/members                         people:register       A  A  O  T  -  -  -  -  -  -  -
volunteers POST  /v1/activities                                   activities:write      A  A  O  T  -  -  -  -  -  -  -
volunteers GET   /v1/activities/{id:uuid}                         activities:read       A  A  O  T  P  P  A  A  -  -  -
volunteers GET   /v1/activities                                   activities:read       A  A  O  T  P  P  A  A  -  -  -
volunteers POST  /v1/hours                                        hours:log             -  -  O  T  -  -  -  -  -  -  -
volunteers POST  /v1/hours:batch                                  hours:log             -  -  O  T  -  -  -  -  -  -  -
volunteers POST  /v1/hours/{id:uuid}:reverse                      hours:reverse         -  A  O  -  -  -  -  -  -  -  -
volunteers GET   /v1/hours/{id:uuid}                              hours:read            A  A  O  T  S  C  A  A  -  -  -
volunteers GET   /v1/hours                                        hours:read            A  A  O  T  S  C  A  A  -  -  -
volunteers POST  /v1/claims                                       hours:claim           -  -  O  T  S  C  -  -  -  -  -
volunteers POST  /v1/claims/{id:uuid}:withdraw                    hours:claim           -  -  O  T  S  C  -  -  -  -  -
volunteers POST  /v1/claims/{id:uuid}:approve                     hours:approve         A  A  O  -  -  -  -  -  -  -  -
volunteers POST  /v1/claims/{id:uuid}:refuse                      hours:approve         A  A  O  -  -  -  -  -  -  -  -
volunteers GET   /v1/claims/{id:uuid}                             hours:read            A  A  O  T  S  C  A  A  -  -  -
volunteers GET   /v1/claims                                       hours:read            A  A  O  T  S  C  A  A  -  -  -
volunteers POST  /v1/reversal-requests/{id:uuid}:approve          hours:decide_reversal A  A  O  -  -  -  -  -  -  -  -
volunteers POST  /v1/reversal-requests/{id:uuid}:refuse           hours:decide_reversal A  A  O  -  -  -  -  -  -  -  -
volunteers GET   /v1/reversal-requests                            hours:read            A  A  O  T  S  C  A  A  -  -  -
volunteers GET   /v1/statistics                                   statistics:read       A  A  O  T  P  P  A  A  P  P  -
volunteers GET   /v1/statistics.xlsx                              statistics:read       A  A  O  T  P  P  A  A  P  P  -
volunteers GET   /v1/imports/template.xlsx                        hours:import          -  A  A  -  -  -  -  -  -  -  -
volunteers POST  /v1/imports                                      hours:import          -  A  O  -  -  -  -  -  -  -  -
volunteers POST  /v1/imports/{id:uuid}:confirm                    hours:import          -  A  O  -  -  -  -  -  -  -  -
volunteers POST  /v1/imports/{id:uuid}:undo                       hours:import          -  A  O  -  -  -  -  -  -  -  -
volunteers GET   /v1/imports/{id:uuid}                            hours:import          -  A  O  -  -  -  -  -  -  -  -
volunteers GET   /v1/imports                                      hours:import          -  A  O  -  -  -  -  -  -  -  -
volunteers GET   /v1/imports/{id:uuid}/result.xlsx                hours:import          -  A  O  -  -  -  -  -  -  -  -
volunteers GET   /v1/books/{name}/buckets                         books:read            -  -  -  -  -  -  -  -  -  -  A
volunteers GET   /v1/books/{name}/facts                           books:read            -  -  -  -  -  -  -  -  -  -  A
volunteers GET   /v1/books/{name}/facts/{id:uuid}/event           books:read            -  -  -  -  -  -  -  -  -  -  A
volunteers GET   /v1/dead-letters/groups                          dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
volunteers GET   /v1/dead-letters                                 dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
volunteers GET   /v1/dead-letters/{id:uuid}                       dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
volunteers POST  /v1/dead-letters:retry                           dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
volunteers POST  /v1/dead-letters:drop                            dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
volunteers GET   /v1/audit                                        audit:read            -  -  -  -  S  C  A  A  -  -  -
volunteers GET   /v1/audit.csv                                    audit:read            -  -  -  -  S  C  A  A  -  -  -
volunteers POST  /v1/volunteers/{id:uuid}:unmask                  people:unmask         -  A  O  -  S  C  -  -  -  -  A
volunteers POST  /v1/volunteers/{id:uuid}/consents                people:consent        -  A  O  -  S  C  -  -  -  -  -
volunteers GET   /v1/volunteers/{id:uuid}/consents                people:read           A  A  O  T  S  C  A  A  -  -  -
volunteers POST  /v1/consents/{id:uuid}:withdraw                  people:consent        -  A  O  -  S  C  -  -  -  -  -
volunteers POST  /v1/volunteers/{id:uuid}/unmask-approvals        people:approve_unmask -  -  -  -  -  -  -  A  -  -  -
volunteers GET   /v1/volunteers/{id:uuid}/export                  people:export         -  -  -  -  S  C  -  A  -  -  -
volunteers POST  /v1/volunteers/{id:uuid}:request-erasure         people:ask_erasure    -  -  -  -  S  C  -  -  -  -  -
volunteers GET   /v1/erasure-requests                             people:export         -  -  -  -  S  C  -  A  -  -  -
volunteers POST  /v1/erasure-requests/{id:uuid}:decide            people:decide_erasure -  -  -  -  -  -  -  A  -  -  -

awards     GET   /v1/volunteers/{id:uuid}/stars                   stars:read            A  A  -  -  S  C  A  A  -  -  -
awards     GET   /v1/stars                                        stars:read            A  A  -  -  S  C  A  A  -  -  -
awards     GET   /v1/stars/counts                                 statistics:read       A  A  P  P  P  P  A  A  P  P  -
awards     GET   /v1/stars/thresholds                             rules:read            A  A  A  -  -  -  A  A  -  -  A
awards     GET   /v1/books/{name}/buckets                         books:read            -  -  -  -  -  -  -  -  -  -  A
awards     GET   /v1/books/{name}/facts                           books:read            -  -  -  -  -  -  -  -  -  -  A
awards     GET   /v1/books/{name}/facts/{id:uuid}/event           books:read            -  -  -  -  -  -  -  -  -  -  A
awards     GET   /v1/dead-letters/groups                          dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
awards     GET   /v1/dead-letters                                 dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
awards     GET   /v1/dead-letters/{id:uuid}                       dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
awards     POST  /v1/dead-letters:retry                           dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
awards     POST  /v1/dead-letters:drop                            dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
awards     GET   /v1/audit                                        audit:read            -  -  -  -  S  C  A  A  -  -  -
awards     GET   /v1/audit.csv                                    audit:read            -  -  -  -  S  C  A  A  -  -  -

notify     GET   /v1/volunteers/{id:uuid}/inbox                   inbox:read            -  -  -  -  S  C  -  -  -  -  -
notify     POST  /v1/messages/{id:uuid}:read                      inbox:read            -  -  -  -  S  C  -  -  -  -  -
notify     GET   /v1/acknowledgements/count                       statistics:read       A  A  P  P  P  P  A  A  P  P  -
notify     GET   /v1/dead-letters/groups                          dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
notify     GET   /v1/dead-letters                                 dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
notify     GET   /v1/dead-letters/{id:uuid}                       dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
notify     POST  /v1/dead-letters:retry                           dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
notify     POST  /v1/dead-letters:drop                            dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
notify     GET   /v1/audit                                        audit:read            -  -  -  -  S  C  A  A  -  -  -
notify     GET   /v1/audit.csv                                    audit:read            -  -  -  -  S  C  A  A  -  -  -

portal     GET   /v1/me                                           account:own           M  M  M  M  M  M  M  M  M  M  M
portal     POST  /v1/me/password                                  account:own           M  M  M  M  M  M  M  M  N  M  N
portal     POST  /v1/me/totp                                      account:own           M  M  M  M  M  M  M  M  N  M  N
portal     POST  /v1/me/totp:confirm                              account:own           M  M  M  M  M  M  M  M  N  M  N
portal     POST  /v1/me/totp:remove                               account:own           M  M  M  M  M  M  M  M  N  M  N
portal     GET   /v1/me/sessions                                  account:own           M  M  M  M  M  M  M  M  N  M  N
portal     POST  /v1/me/sessions/{id:uuid}:end                    account:own           M  M  M  M  M  M  M  M  N  M  N
portal     GET   /v1/me/keys                                      keys:own              -  -  -  -  -  -  -  -  M  -  -
portal     POST  /v1/me/keys/{prefix}:rotate                      keys:own              -  -  -  -  -  -  -  -  M  -  -
portal     POST  /v1/me/keys/{prefix}:revoke                      keys:own              -  -  -  -  -  -  -  -  M  -  -
portal     POST  /v1/accounts                                     accounts:manage       A  -  U  -  -  -  -  -  -  -  -
portal     GET   /v1/accounts                                     accounts:manage       A  -  U  -  -  -  -  -  -  -  -
portal     GET   /v1/accounts/{id:uuid}                           accounts:manage       A  -  U  -  -  -  -  -  -  -  -
portal     PATCH /v1/accounts/{id:uuid}                           accounts:manage       A  -  U  -  -  -  -  -  -  -  -
portal     POST  /v1/accounts/{id:uuid}:reset                     accounts:manage       A  -  U  -  -  -  -  -  -  -  -
portal     POST  /v1/clients                                      clients:manage        A  -  -  -  -  -  -  -  -  -  -
portal     GET   /v1/clients                                      clients:manage        A  -  -  -  -  -  -  -  -  -  -
portal     GET   /v1/clients/{id:uuid}                            clients:manage        A  -  -  -  -  -  -  -  -  -  -
portal     PATCH /v1/clients/{id:uuid}                            clients:manage        A  -  -  -  -  -  -  -  -  -  -
portal     POST  /v1/clients/{id:uuid}/keys                       clients:manage        A  -  -  -  -  -  -  -  -  -  -
portal     POST  /v1/clients/{id:uuid}/keys/{prefix}:revoke       clients:manage        A  -  -  -  -  -  -  -  -  -  -
portal     POST  /v1/clients/{id:uuid}/keys/{prefix}:rotate       clients:manage        A  -  -  -  -  -  -  -  -  -  -
portal     GET   /v1/dead-letters/groups                          dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
portal     GET   /v1/dead-letters                                 dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
portal     GET   /v1/dead-letters/{id:uuid}                       dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
portal     POST  /v1/dead-letters:retry                           dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
portal     POST  /v1/dead-letters:drop                            dead_letters:manage   -  -  -  -  -  -  -  -  -  A  -
portal     GET   /v1/audit                                        audit:read            -  -  -  -  S  C  A  A  -  -  -
portal     GET   /v1/audit.csv                                    audit:read            -  -  -  -  S  C  A  A  -  -  -
"""


@dataclass(frozen=True)
class Line:
    """One route: the right that it asks for, and how far each role's reaches."""

    service: str
    method: str
    path: str
    right: str
    letters: dict[str, str]

    @property
    def route(self) -> tuple[str, str, str]:
        return self.service, self.method, self.path

    def __str__(self) -> str:
        return f"{self.service} {self.method} {self.path}"


def _read(text: str) -> list[Line]:
    lines = []
    for words in (line.split() for line in text.strip().splitlines()[1:] if line):
        service, method, path, right, *letters = words
        assert set(letters) <= set("AOTSCPUMN-"), words
        lines.append(Line(service, method, path, right, dict(zip(ROLES, letters, strict=True))))
    return lines


TABLE = _read(_LINES)
#: What answers without a token: nothing of the office's data.
PUBLIC = ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/start.js")

#: What is asked for without a token, by hand too: signing in, and what a sign-in is checked with.
OPEN = {
    ("portal", "POST", "/v1/sessions"),
    ("portal", "POST", "/v1/sessions:refresh"),
    ("portal", "POST", "/v1/sessions:end"),
    ("portal", "POST", "/v1/activations"),
    ("portal", "POST", "/v1/client-tokens"),
    ("portal", "GET", "/v1/keys"),
    ("portal", "GET", "/v1/oidc/start"),
    ("portal", "GET", "/v1/oidc/callback"),
}
