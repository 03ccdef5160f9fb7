"""Each alert has its page, which can be followed at three in the morning: what it names exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.alerts import FOLDER, alerts, rules
from tests.support.documents import ROOT, blocks, links
from tests.support.documents_check import wrong_xinhuo
from tests.support.rabbit import RabbitNode
from xinhuo.chassis import metrics
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.markers import Job, marked
from xinhuo.cli.build import full_topology, service_classes

PAGES = sorted(FOLDER.glob("runbooks/*.md"))
PARTS = [
    "影响 / What it means", "先看 / Look first", "常见原因 / Likely causes", "处理 / What to do",
    "何时结束 / When it is over", "试一次 / How to try it out",
]  # fmt: skip
#: Words of RabbitMQ, of PostgreSQL, and of every line of the log.
OF_OTHERS = {"rabbitmq_prometheus", "pause_minority", "force_reset", "max_connections", "trace_id"}
#: What the manifests call things; kinds that kubectl is given with a name.
_OBJECT = re.compile(r"\b(?:deploy|job|cronjob|scaledobject)[/ ]([a-z$][\w$-]*)")


def _parts(page: Path) -> dict[str, str]:
    pieces = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def _commands(page: Path) -> Iterator[str]:
    """Yield each line of shell, and what stands in `code`, with the service of the page in place of $SERVICE."""
    service = re.search(r"^SERVICE=(\w+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    said = service[1] if service else "awards"
    lines = [line for block in blocks(page) for line in block.commands()]
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for line in [*lines, *re.findall(r"`([^`\n]+)`", text)]:
        yield line.replace("$SERVICE", said)


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    assert [page.stem for page in PAGES] == sorted({alert.name for alert in alerts()})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_six_parts_in_both_languages(page: Path) -> None:
    parts = _parts(page)
    assert list(parts) == PARTS
    severity = {alert.labels["severity"] for alert in alerts() if alert.name == page.stem}
    assert f"`{severity.pop()}`" in page.read_text(encoding="utf-8").splitlines()[2]
    for title, text in parts.items():
        if title == "先看 / Look first":
            assert [block.language for block in blocks(page)] == ["sh"]
            continue
        prose = re.sub(r"`[^`]*`", "", text)
        assert len(re.findall("[一-鿿]", prose)) >= 4, title
        assert len(re.findall(r"\b[A-Za-z]{2,}\b", prose)) >= 3, title


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_exists(page: Path) -> None:
    known = {metric.name for metric in metrics.declared()}
    known |= {rule["record"] for rule in rules() if "record" in rule}
    reasons = ROOT.joinpath("docs/errors.md").read_text(encoding="utf-8")
    log = ROOT.joinpath("docs/operations.md").read_text(encoding="utf-8")
    settings = ROOT.joinpath("docs/settings.md").read_text(encoding="utf-8")
    jobs = {name for service in service_classes() for name in marked(service, Job)}
    for line in _commands(page):
        for command in re.findall(r"(?:^|-- )(xinhuo [^|]+)", line):
            assert list(wrong_xinhuo(command)) == []
        for name in re.findall(r"\bxinhuo[_:][a-z_0-9:]+", line):
            assert name in known, line
        for setting in re.findall(r"\bXINHUO_[A-Z_]+", line):
            assert setting in settings or setting.removesuffix("_URL").removeprefix("XINHUO_").lower() in SERVICES, line
        for queue in re.findall(r"(?<=--vhost xinhuo )(?!dept\.)[a-z]+\.[a-z_]+", line):
            assert queue in {one.name for one in full_topology().queues}, line
        if re.fullmatch(r"(?!xinhuo_)[a-z]+(_[a-z]+)+", line):
            assert f"`{line}`" in log or line in jobs | OF_OTHERS, line
        if re.fullmatch(r"(event|handler)\.[a-z_]+", line):
            assert f"`{line}`" in reasons, line
        if line.startswith("docs/"):
            assert (ROOT / line).exists(), line
        for named in re.findall(r"grep (.+)$", line) if "kubectl" in line else ():
            assert all(f"`{one}`" in log for one in re.findall(r"\b[a-z]+_[a-z_]+\b", named)), line
    for link in links(page):
        assert (page.parent / link.partition("#")[0]).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_kubectl_is_given_names_that_the_manifests_have(page: Path) -> None:
    wanted = {f"{service}-{role}" for service in SERVICES for role in ("api", "worker")} | {
        "migrate",
        "backup",
        "admin",
    }
    for line in _commands(page):
        if line.startswith("kubectl "):
            assert "-n xinhuo " in line, line
            given = set(_OBJECT.findall(line)) - {"backup-now", "migrate"}
            assert given <= wanted, line
            for service in re.findall(r"component=([\w-]+)", line):
                assert service in SERVICES, line


def _statements(line: str) -> list[str]:
    found = re.findall(r'-c "([^"]+)"', line)
    return [*found, line] if re.match("SELECT .* FROM ", line) else found


STATEMENTS = sorted(
    {(page.stem, statement) for page in PAGES for line in _commands(page) for statement in _statements(line)}
)


@pytest.mark.parametrize(("page", "statement"), STATEMENTS, ids=[page for page, _ in STATEMENTS])
def test_statements_for_the_database_run(page: str, statement: str, database: str) -> None:
    with psycopg.connect(database.replace("+psycopg", "")) as connection:
        assert connection.execute(statement).description


def test_questions_to_rabbitmq_are_answered(rabbit_node: RabbitNode) -> None:
    questions = {
        line.partition(" --vhost xinhuo")[0].removeprefix("rabbitmqctl ") + "|" + line.partition(" --vhost xinhuo")[2]
        for page in PAGES
        for line in _commands(page)
        if line.startswith("rabbitmqctl list_") and "permissions" not in line
    }
    assert len(questions) >= 5
    for question in sorted(questions):
        command, _, columns = question.partition("|")
        vhost = ["--vhost", "/"] if command.split()[0] not in ("list_vhosts", "list_users") else []
        rabbit_node.ctl(command.split()[0], *vhost, *command.split()[1:], *columns.split())


def test_the_page_of_metrics_leads_here() -> None:
    assert "deploy/monitoring" in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
