"""What the pages say is run, or at least checked against what exists."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.documents import ROOT, Block, blocks, links, shell_blocks
from tests.support.documents_check import problems
from tests.support.installation import free_port_base
from tests.support.processes import LOOPBACK, end, tail
from tests.support.waiting import wait_for
from xinhuo.contracts.base import load_all

BIN = Path(sys.executable).parent
README, README_ZH = ROOT / "README.md", ROOT / "README.zh-CN.md"
HTTP = ROOT / "docs" / "http.md"
START_SECONDS = 60
#: Pages with commands, and what runs them. A new page with commands must be put here, with a test.
RUN_BY = {
    "README.md": "make: its targets are checked, and run by hand and CI; the rest: this module",
    "README.zh-CN.md": "the same commands as README.md, compared by this module",
    "CONTRIBUTING.md": "make: its targets are checked, and run by CI",
    "docs/backup.md": "tests/deploy/test_restore_drill.py",
    "docs/department-onboarding.md": "test_subscribing; in a cluster tests/deploy/test_rolling_restart.py",
    "docs/http.md": "this module",
    "docs/install.md": "names by this module; the steps by tests/deploy, as far as they run on one machine",
    "docs/operations.md": "test_replay, for replay and rebuild",
    "docs/prove.md": "make: its targets are checked; prove by tests/faults, --dry-run by tests/unit/test_prove_plan.py",
    "docs/subscribing.md": "test_subscribing",
    "docs/upgrade.md": "its policy is compared by tests/deploy/test_broker_ahead.py",
}
#: What stands for another thing in every real answer.
VARIES = re.compile(r"id|trace_id|\w+_at|detail|detail_en|title|number")


def test_every_link_path_target_and_command_in_the_pages_exists() -> None:
    assert problems(ROOT) == []


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        ("[gone](docs/no-such-page.md)", "dead link"),
        ("![picture](docs/images/no-such-picture.svg)", "dead link"),
        ("[heading](docs/http.md#no-such-heading)", "heading that is not there"),
        ("[outside](../../elsewhere)", "dead link"),
        ("see `services/volunteers/no_such_module.py`", "no such path"),
        ("`xinhuo stars`", "no such command"),
        ("`xinhuo subs create CODE --topics x`", "no such option"),
        ('`make run ARGS="--twice"`', "no such option"),
        ("```console\n$ make tset\n```", "no such target"),
        ("```sh\nxinhuo serve volunteers --rôle api\n```", "no such option"),
    ],
)
def test_the_checker_finds_what_is_planted(planted: str, complaint: str, tmp_path: Path) -> None:
    for part in ("docs", "README.md", "README.zh-CN.md", "CONTRIBUTING.md", "Makefile"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    before = set(problems(tmp_path))
    with (tmp_path / "README.md").open("a", encoding="utf-8") as readme:
        readme.write(f"\n{planted}\n")

    (found,) = set(problems(tmp_path)) - before

    assert complaint in found


def test_every_page_with_commands_is_run_by_a_test() -> None:
    from tests.support.documents import pages

    with_commands = {str(page.relative_to(ROOT)) for page in pages() if shell_blocks(page)}

    assert with_commands == set(RUN_BY)


def test_both_readmes_have_the_same_blocks_pictures_links_and_sections() -> None:
    def outline(page: Path) -> list[int]:
        return [len(marks) for marks in re.findall(r"^(#+) ", page.read_text(encoding="utf-8"), re.MULTILINE)]

    def code(page: Path) -> list[list[str]]:
        return [[command.partition(" #")[0].rstrip() for command in block.commands()] for block in blocks(page)]

    assert outline(README) == outline(README_ZH)
    assert code(README) == code(README_ZH)
    assert links_out_of(README) - {"README.zh-CN.md"} == links_out_of(README_ZH) - {"README.md"}


def links_out_of(page: Path) -> set[str]:
    return {link for link in links(page) if not link.startswith("#")}


# docs/http.md on a running system


@pytest.fixture(scope="module")
def empty_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """The first port of a system with no data, everything in one place, and a token of its first administrator."""
    base = free_port_base()
    folder = tmp_path_factory.mktemp("documentation")
    log = folder / "up.log"
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("AMQP_URI", "DATABASE_URL"))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / "xinhuo", "up", "--no-sample", "--data", folder / "data", "--port-base", str(base)],
            env=environment, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        for number in range(1, 6):
            wait_for(lambda port=base + number: is_ready(port, process, log), START_SECONDS, f"service {number}")
        yield base, first_token(f"http://{LOOPBACK}:{base + 5}", log)
    finally:
        end(process, signal.SIGINT, 40)


def first_token(portal: str, log: Path) -> str:
    """Do what the page says: set a password by the link that was printed, sign in, and return a token."""
    link = re.search(r"xhl_\S+", wait_for_text(log, "xhl_"))
    assert link is not None
    password = "三号楼的钥匙在门卫室 7"
    for path, body in (
        ("/v1/activations", {"secret": link[0], "password": password}),
        ("/v1/sessions", {"login": "admin", "password": password}),
    ):
        answer = requests.post(portal + path, json=body, timeout=30)
        assert answer.ok, answer.text
    token: str = answer.json()["access_token"]
    return token


def wait_for_text(log: Path, text: str) -> str:
    wait_for(lambda: text in log.read_text(encoding="utf-8"), START_SECONDS, f"{text} to be printed")
    return log.read_text(encoding="utf-8")


def is_ready(port: int, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, f"ended:\n{tail(log)}"
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_the_requests_of_the_http_page_get_the_answers_shown(empty_system: tuple[int, str]) -> None:
    port_base, token = empty_system
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shown = [block for block in blocks(HTTP) if block.language in {"sh", "json"}]
    for block, following in zip(shown, [*shown[1:], None], strict=True):
        if block.language == "json":
            continue
        text = re.sub(r"127\.0\.0\.1:800(\d)", lambda port: f"{LOOPBACK}:{port_base + int(port[1])}", block.text)
        ended = subprocess.run(
            ["bash", "-euc", text],
            env={**os.environ, "TOKEN": token},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, f"{block}: {ended.stderr}"
        answer = json.loads(ended.stdout) if ended.stdout else None
        if following is not None and following.language == "json":
            assert settled(answer) == settled(json.loads(following.text)), f"{block}: {ended.stdout}"
        else:
            assert "code" not in (answer or {}) or "revision" in answer, f"{block}: {ended.stdout}"


def settled(answer: Any) -> Any:
    """Return an answer without what differs from one time to the next: ids, instants, wording."""
    if isinstance(answer, dict):
        return {
            name: "…" if VARIES.fullmatch(name) and isinstance(value, str) else settled(value)
            for name, value in answer.items()
        }
    return [settled(item) for item in answer] if isinstance(answer, list) else answer


# README: own servers


def own_servers_block() -> Block:
    (block,) = [block for block in shell_blocks(README) if "AMQP_URI" in block.text]
    return block


def test_the_commands_for_own_servers_bring_a_service_up(amqp_uri: str, empty_database: str, tmp_path: Path) -> None:
    base = free_port_base()
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "XINHUO_DATA": str(tmp_path / "data"),
        "XINHUO_PORT_BASE": str(base),
    }
    given = {"AMQP_URI": amqp_uri, "DATABASE_URL": empty_database}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate(own_servers_block().commands()):
            if variable := re.fullmatch(r"export (\w+)=\S+", command):
                environment[variable[1]] = given.pop(variable[1])
                continue
            log = tmp_path / f"{number}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    ["bash", "-c", f"exec {command}"], env=environment, stdout=output, stderr=output
                )
            if " serve " not in command:
                assert process.wait(START_SECONDS) == 0, f"{command}:\n{tail(log)}"
                continue
            processes.append(process)
            port = base + 2 + (10 if "worker" in command else 0)
            wait_for(lambda port=port: is_ready(port, process, log), START_SECONDS, f"{command}: {tail(log)}")  # noqa: B023
    finally:
        for process in processes:
            end(process, signal.SIGTERM, 40)

    assert not given
    assert [process.returncode for process in processes] == [0, 0]


# Other claims


def test_everything_in_one_place_runs_without_nameko_and_eventlet_as_decision_1_says() -> None:
    program = (
        "import sys, xinhuo.cli.up, xinhuo.cli.build, xinhuo.chassis.adapters.inprocess, xinhuo.chassis.adapters.amqp\n"
        "xinhuo.cli.build.service_classes()\n"
        "print(sorted({'nameko', 'eventlet'} & sys.modules.keys()))"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout.strip() == "[]"


def test_the_picture_of_the_readme_shows_a_run_and_refers_to_nothing_outside() -> None:
    picture = (ROOT / "docs" / "images" / "run.svg").read_text(encoding="utf-8")

    assert "台账分钟" in picture
    assert "url(http" not in picture
    assert "@font-face" not in picture


def test_the_change_log_tells_subscribers_of_every_public_event() -> None:
    events = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("### Events")[2].partition("### Added")[0]

    assert {topic for topic, event in load_all().items() if event.public} == set(
        re.findall(r"`(\w+\.\w+\.v\d+)`", events)
    )
