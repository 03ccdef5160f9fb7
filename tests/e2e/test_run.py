"""`xinhuo up` as a clerk meets it: it loads the sample, shows it working, serves and stops."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from openpyxl import load_workbook

from tests.e2e.conftest import Loaded
from tests.support.installation import SERVICES, Installation, alive, descendants, free_port_base, xinhuo
from tests.support.processes import LOOPBACK
from tests.support.waiting import wait_for

KEYS = {"accepted", "refused", "ledger_minutes", "statistics_minutes", "stars", "acknowledgements", "seconds"}
WORKBOOK = "样例时数.xlsx"


def rows_of(workbook: Path) -> int:
    """Count the rows below the header of the sample, by a library that Xinhuo does not read with."""
    book = load_workbook(workbook, read_only=True)
    rows = list(book.worksheets[0].iter_rows(values_only=True))
    book.close()
    (header,) = (number for number, row in enumerate(rows[:10]) if "身份证号" in row)
    return sum(any(cell is not None for cell in row) for row in rows[header + 1 :])


def test_the_sample_is_loaded_and_its_figures_agree(loaded: Loaded) -> None:
    figures = loaded.first.figures

    assert figures.keys() == KEYS
    assert figures["accepted"] + figures["refused"] == rows_of(loaded.installation.data / WORKBOOK) == 2000
    assert figures["ledger_minutes"] == figures["statistics_minutes"] > 0
    assert figures["acknowledgements"] == figures["accepted"] + figures["stars"]
    assert figures["refused"] > 0
    assert figures["stars"] > 0


def test_a_second_start_imports_nothing_and_prints_the_same_figures(loaded: Loaded) -> None:
    first, second = loaded.first.figures, loaded.second.figures

    assert {**second, "seconds": 0} == {**first, "seconds": 0}
    assert "导入时数" in loaded.first.stderr
    assert "导入时数" not in loaded.second.stderr
    assert second["seconds"] < first["seconds"]


def test_both_brokers_come_to_the_same_figures(load: Callable[[str], Loaded]) -> None:
    embedded, on_rabbitmq = load("embedded").first.figures, load("rabbitmq").first.figures

    assert {**embedded, "seconds": 0} == {**on_rabbitmq, "seconds": 0}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_told_to_stop_it_ends_well_with_all_its_children(load: Callable[[str], Loaded], number: signal.Signals) -> None:
    # On RabbitMQ, where a start takes its time, test_kill ends with the same.
    serving = load("embedded").installation.serve()
    for service in SERVICES:
        assert requests.get(serving.url(service) + "/readyz", timeout=10).status_code == 200

    serving.assert_stops_well(number)


def test_a_later_start_shows_the_figures_as_a_table_and_then_serves(load: Callable[[str], Loaded]) -> None:
    loaded = load("embedded")
    serving = loaded.installation.serve()
    shown = serving.output.read_text(encoding="utf-8")
    figures = loaded.first.figures

    for line in ("导入行数", "拒绝行数", "台账分钟", "统计分钟", "获得星级", "致谢", "✓", f"{figures['accepted']:,}"):
        assert line in shown
    assert "✗" not in shown
    for number in range(1, len(SERVICES) + 1):
        assert f"http://{LOOPBACK}:{serving.port_base + number}/docs" in shown


def test_a_busy_port_is_named_and_nothing_else_happens(path_of_data: Path) -> None:
    base = free_port_base()
    with socket.socket() as other:
        other.bind((LOOPBACK, base + 3))
        other.listen()
        ended = xinhuo("up", "--data", path_of_data, "--port-base", str(base), "--once", "--json")

    assert ended.code == 4
    assert str(base + 3) in ended.stderr
    assert "awards" in ended.stderr
    assert "已被占用" in ended.stderr
    assert "is taken" in ended.stderr
    assert "--port-base" in ended.stderr
    assert ended.stdout == ""
    assert not path_of_data.exists()


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    ended = xinhuo("up", "--data", tmp_path / "file" / "data", "--port-base", str(free_port_base()), "--once")

    assert ended.code == 2
    assert "数据目录" in ended.stdout


def test_ctrl_c_while_it_starts_leaves_nothing_running(install: Callable[[str], Installation]) -> None:
    fresh = install("embedded")
    process = fresh.spawn("--once", "--json")
    wait_for(lambda: (fresh.data / "postgres").exists(), 60, "initdb to be through")
    children = descendants(process.pid)

    code = fresh.stop(signal.SIGINT)

    assert code == 130
    assert "已中断" in fresh.output.read_text(encoding="utf-8")
    wait_for(lambda: not alive(children), 20, "its children to end")
