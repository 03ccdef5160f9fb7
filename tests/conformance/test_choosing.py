"""A start that cannot be: an adapter that there is not, a port that is taken. One line says so, and nothing begins."""

import importlib.util
import os
import socket
import subprocess
import sys

import pytest

from tests.support.installation import clean_environment
from tests.support.processes import LOOPBACK, free_port

HAS_NAMEKO = importlib.util.find_spec("nameko") is not None


def start(adapter: str, port: int | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "xinhuo.cli.process", "volunteers", "--port", str(port or free_port())]
    settings = {"XINHUO_ADAPTER": adapter, "AMQP_URI": "amqp://u:p@127.0.0.1:1/none"}
    return subprocess.run(
        command, env=clean_environment(settings), capture_output=True, text=True, timeout=60, check=False
    )


def test_an_adapter_that_there_is_not_is_refused_by_name_with_those_that_there_are() -> None:
    ended = start("celery")

    assert ended.returncode == 2
    assert "XINHUO_ADAPTER" in ended.stderr
    assert "nameko | threads" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(HAS_NAMEKO, reason="nameko is installed")
def test_nameko_where_it_is_not_installed_is_refused_with_both_ways_out() -> None:
    ended = start("nameko")

    assert ended.returncode == 2
    assert "没有安装 nameko" in ended.stderr
    assert "XINHUO_ADAPTER=threads" in ended.stderr
    assert "make install" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_is_said_before_anything_says_that_it_has_started() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        ended = start(os.environ.get("XINHUO_ADAPTER", "nameko"), taken.getsockname()[1])

    assert ended.returncode == 4
    (line,) = ended.stderr.splitlines()
    assert "已被占用" in line
