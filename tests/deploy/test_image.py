"""What is in the image, what is not, and what a process of it may do.

That each service starts in each role, with its secrets in files, and ends well is shown in test_compose.py.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tests.support.image import LOCKED_UP, USER, Image
from tools import image as image_tool
from tools import sbom
from xinhuo import __version__
from xinhuo.chassis.config import IN_FILE

# The first test that asks for the image may have to wait until it is built, with others building beside it.
pytestmark = pytest.mark.timeout(900)

MOST_BYTES = 350 * 10**6
PYTHON = ("python", "-c")

#: Looks through the root file system, run as the image's user; what is mounted over it is not looked at.
SEARCH = """
import importlib.util, json, os, stat
KERNELS = {"/proc", "/sys", "/dev", "/tmp", "/run/.containerenv", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
UNWANTED = {".git", "tests", "master.key", "pip", "pip3", "gcc", "cc", "g++", "make", "ld", ".env", "Containerfile"}
UNWANTED_ENDS = (".whl", ".map")
found = {"writable": [], "setuid": [], "unwanted": [], "uncompiled": []}
for folder, folders, files in os.walk("/"):
    folders[:] = [one for one in folders if os.path.join(folder, one) not in KERNELS]
    ours = folder.startswith(("/opt/xinhuo", "/srv"))
    for name in [*folders, *files] if folder != "/" else [*folders, *files, ""]:
        path = os.path.join(folder, name)
        if path in KERNELS or os.path.islink(path):
            continue
        if os.access(path, os.W_OK):
            found["writable"].append(path)
        mode = os.stat(path, follow_symlinks=False).st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            found["setuid"].append(path)
        programs = folder in ("/usr/bin", "/usr/local/bin", "/opt/xinhuo/bin")
        if (ours or programs) and (name in UNWANTED or (ours and name.endswith(UNWANTED_ENDS))):
            found["unwanted"].append(path)
        compiled = importlib.util.cache_from_source(path) if name.endswith(".py") else path
        if ours and not programs and not os.path.exists(compiled):
            found["uncompiled"].append(path)
print(json.dumps(found))
"""

#: Tries to make a file in every folder there is.
WRITE = """
import json, os
done = []
for folder, folders, _ in os.walk("/"):
    folders[:] = [one for one in folders if os.path.join(folder, one) not in ("/proc", "/sys")]
    try:
        os.close(os.open(os.path.join(folder, "written"), os.O_CREAT | os.O_WRONLY))
        done.append(folder)
    except OSError:
        pass
print(json.dumps(done))
"""


def python(image: Image, program: str, **more: Any) -> Any:
    ended = image.run_in_image(program, entrypoint=PYTHON, **more)
    assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def looked_through(image: Image) -> dict[str, list[str]]:
    # Not read-only, so that the rights of the files themselves tell.
    found: dict[str, list[str]] = python(image, SEARCH, options=LOCKED_UP[3:])
    return found


def test_it_is_small(image: Image) -> None:
    assert 100 * 10**6 < image.inspect()["Size"] < MOST_BYTES


def test_it_says_what_it_is_and_runs_as_nobody_special(image: Image) -> None:
    said = image.inspect()["Config"]
    assert said["User"] == f"{USER}:{USER}"
    assert (said["Entrypoint"], said["Cmd"], said["StopSignal"]) == (["xinhuo"], ["--help"], "SIGTERM")
    assert "Volumes" not in said
    assert said["Labels"]["org.opencontainers.image.version"] == __version__
    assert said["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert not any(name.startswith(("XINHUO_", "PIP_")) for name in said["Env"])


def test_without_arguments_it_shows_the_help(image: Image) -> None:
    ended = image.run_in_image()
    assert ended.code == 0, ended.stderr
    assert "薪火：志愿服务活动系统" in ended.stdout
    assert image.run_in_image("--version").stdout.strip() == f"xinhuo {__version__}"


def test_a_process_has_no_capability_and_can_get_none(image: Image) -> None:
    status = python(
        image, "import json; print(json.dumps(dict(l.split(':', 1) for l in open('/proc/self/status') if ':' in l)))"
    )
    capabilities = {name: int(value, 16) for name, value in status.items() if name.startswith("Cap")}
    assert capabilities == dict.fromkeys(capabilities, 0)
    assert len(capabilities) == 5
    assert status["NoNewPrivs"].strip() == "1"
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(USER)}


def test_it_can_write_to_tmp_and_nowhere_else(image: Image) -> None:
    done = python(image, WRITE)
    # The kernel's shared memory is no file system of the image.
    assert [folder for folder in done if not folder.startswith("/dev/")] == ["/tmp"]  # noqa: S108


def test_nothing_in_it_belongs_to_its_user_or_changes_the_user(looked_through: dict[str, list[str]]) -> None:
    assert looked_through["writable"] == []
    assert looked_through["setuid"] == []


def test_it_holds_no_tests_keys_history_or_compilers_of_ours(looked_through: dict[str, list[str]]) -> None:
    assert looked_through["unwanted"] == []


def test_all_of_it_is_compiled_so_that_a_read_only_root_starts_fast(looked_through: dict[str, list[str]]) -> None:
    assert looked_through["uncompiled"] == []


def test_the_search_finds_what_is_planted(image: Image, tmp_path: Path) -> None:
    for folder in (".git", "tests"):
        (tmp_path / folder).mkdir()
    for file in ("new.py", "su", "master.key"):
        (tmp_path / file).touch()
    (tmp_path / "su").chmod(0o4755)
    os.chown(tmp_path / "new.py", USER, USER)
    tmp_path.chmod(0o777)

    found = python(image, SEARCH, options=(*LOCKED_UP[3:], f"--volume={tmp_path}:/srv"))

    assert found["writable"] == ["/srv", "/srv/new.py"]
    assert set(found["unwanted"]) == {"/srv/.git", "/srv/tests", "/srv/master.key"}
    assert found["setuid"] == ["/srv/su"]
    assert found["uncompiled"] == ["/srv/new.py"]


def test_the_bill_of_materials_names_all_that_is_installed(image: Image) -> None:
    program = (
        "import importlib.metadata as m, json;"
        "print(json.dumps(sorted({(d.name, d.version) for d in m.distributions()})))"
    )
    installed = {(canonicalize_name(name), version) for name, version in python(image, program)}
    bill = json.loads(sbom.document(image_tool.LOCK))
    named = {(canonicalize_name(one["name"]), one["version"]) for one in bill["components"]}
    ours = bill["metadata"]["component"]
    assert installed - named == {(ours["name"], ours["version"])}
    assert len(installed) > 50


def test_traces_can_be_sent_where_they_are_wanted(image: Image) -> None:
    assert python(image, "import xinhuo.chassis.otel; print('true')") is True


def test_there_is_a_font_with_chinese_and_its_licence(image: Image) -> None:
    program = (
        "import json, pathlib; f = pathlib.Path('/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf');"
        "c = pathlib.Path('/usr/share/doc/fonts-droid-fallback/copyright').read_text();"
        "print(json.dumps([f.read_bytes()[:4].hex(), f.stat().st_size, 'Apache-2.0' in c or 'Apache License' in c]))"
    )
    kind, size, licensed = python(image, program)
    assert (kind, licensed) == ("00010000", True)
    assert size > 3_000_000


def test_a_secret_whose_file_is_missing_is_named_in_both_languages(image: Image) -> None:
    where = "/run/secrets/xinhuo/database-url"
    ended = image.run_in_image(
        "serve", "notices", "--role", "api", "--port", "8080", env={"DATABASE_URL" + IN_FILE: where}
    )
    assert ended.code == 2, ended.stderr
    assert f"DATABASE_URL_FILE='{where}'：文件读不出" in ended.stderr
    assert "must be: a file that can be read (No such file or directory)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_secret_that_others_than_its_user_own_can_be_read_from_a_file(image: Image) -> None:
    where = "/run/secrets/xinhuo/amqp-uri"
    ended = image.run_in_image(
        "topology", "apply", env={"AMQP_URI" + IN_FILE: where}, files={where: "amqp://x:y@127.0.0.1:1/x\n"}
    )
    assert ended.code == 3, ended.stdout + ended.stderr  # read, and nobody is there
