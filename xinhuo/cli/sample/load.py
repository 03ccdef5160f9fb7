"""Loads the sample data through the same HTTP API that a clerk would use; may be stopped and started at any moment.

Every step rests on a natural key that the services keep unique (unit code, notice number, team code, identity
number, activity number, the workbook's bytes), so that repeating a step finds what it made before.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import imports
from ..client import Api, ApiProblem
from . import campaign, workbook
from .people import Person, make_people

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
#: Reports that ``done`` of ``total`` steps of a stage are done.
Progress = Callable[[str, int, int], None]

_THREADS = 4
#: For how many seconds volunteers may take to hear of a unit or notice that notices just announced.
_HEARSAY = 60.0
_NOT_HEARD_YET = {"unit.unknown", "notice.unknown"}
_IDENTITY_CARD = "01"


def load_sample(api: Api, data: Path, *, progress: Progress | None = None, console: "Console | None" = None) -> None:
    """Load what is missing of the sample; does nothing when the workbook was imported before.

    Shows progress bars on ``console``, or reports to ``progress``. The workbook stays in the data folder.
    Raises ApiProblem or ServiceAway.
    """
    path = data / workbook.FILE_NAME
    if not path.exists():
        workbook.write_workbook(path)
    before = imports.entered_before(api, path)
    if before is not None:
        # Confirmed and not through yet, when an earlier start was killed at that moment.
        imports.finished(api, before["id"])
        return
    if progress is not None:
        _load(api, path, progress)
    elif console is not None:
        with _bars(console) as progress:
            _load(api, path, progress)
    else:
        _load(api, path, lambda stage, done, total: None)


def _load(api: Api, path: Path, progress: Progress) -> None:
    _register(api, progress)
    teams = campaign.teams()
    _each(teams, lambda team: _when_heard(lambda: _make(api, "/v1/teams", team.request())), "登记队伍", progress)
    people, _ = make_people([(team.code, team.unit_code) for team in teams])
    _each(people, lambda person: _enrol(api, person), "登记志愿者", progress)
    _each(
        campaign.activities(),
        lambda activity: _when_heard(lambda: _make(api, "/v1/activities", activity.request())),
        "登记活动",
        progress,
    )
    found = imports.first_import_of(api, path)
    if found["state"] == "checked":
        imports.confirm(api, found["id"], "valid_rows")
    imports.finished(api, found["id"], lambda done, total: progress("导入时数", done, total))


def _register(api: Api, progress: Progress) -> None:
    """Register the units, parents first, then issue the notices, which bind the units known at that moment."""
    units, notices = campaign.units(), campaign.notices()
    for done, unit in enumerate(units, 1):
        _make(api, "/v1/units", unit, service="notices")
        progress("登记单位", done, len(units))
    for done, notice in enumerate(notices, 1):
        _issue(api, notice)
        progress("印发通知", done, len(notices))


def _issue(api: Api, notice: dict[str, Any]) -> None:
    notice_id = _make(api, "/v1/notices", notice, service="notices")
    try:
        api.post("notices", f"/v1/notices/{notice_id}:issue", repeatable=True)
    except ApiProblem as problem:
        if problem.code != "notice.already_issued":
            raise


def _enrol(api: Api, person: Person) -> None:
    volunteer = {
        "name": person.name,
        "id_type": _IDENTITY_CARD,
        "id_number": person.id_number,
        "phone": person.phone,
        "unit_code": person.unit_code,
        "team_code": person.team_code,
    }
    volunteer_id = _make(api, "/v1/volunteers", volunteer)
    api.post("volunteers", f"/v1/volunteers/{volunteer_id}:verify", repeatable=True)


def _make(api: Api, path: str, body: dict[str, Any], *, service: str = "volunteers") -> str:
    """Make something that has a natural key, and return its id; what was made before is taken as it is."""
    try:
        made = api.post(service, path, body, repeatable=True)
    except ApiProblem as problem:
        if problem.status == 409 and "other" in problem.body:
            return str(problem.body["other"])
        raise
    return str(made.get("id") or made["code"])


def _when_heard(call: Callable[[], T]) -> T:
    """Call again while volunteers has not heard yet of what notices announced."""
    until = time.monotonic() + _HEARSAY
    while True:
        try:
            return call()
        except ApiProblem as problem:
            if problem.code not in _NOT_HEARD_YET or time.monotonic() > until:
                raise
        time.sleep(0.1)


def _each(items: Iterable[T], work: Callable[[T], object], stage: str, progress: Progress) -> None:
    """Do the work for each item, several at a time; the first error stops what has not begun."""
    every = list(items)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="sample") as pool:
        tasks = [pool.submit(work, item) for item in every]
        try:
            waiting = set(tasks)
            while waiting:
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
                for task in done:
                    task.result()
                progress(stage, len(every) - len(waiting), len(every))
        finally:
            for task in tasks:
                task.cancel()


def sample_import(api: Api, data: Path) -> dict[str, Any]:
    """Return the import of the sample's workbook after it was loaded."""
    path = data / workbook.FILE_NAME
    return imports.entered_before(api, path) or imports.first_import_of(api, path)


@contextmanager
def _bars(console: "Console") -> "Iterator[Progress]":
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report
