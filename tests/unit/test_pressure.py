"""Pressure: on during a large piece of work, and a moment longer."""

import pytest

from xinhuo.chassis import pressure
from xinhuo.chassis.pressure import Pressure


def test_a_small_piece_of_work_is_no_pressure() -> None:
    one = Pressure()
    with one.of(large=False):
        assert not one.is_on()
    assert not one.is_on()


def test_a_large_one_is_until_it_ends_however_long_it_takes_and_for_a_moment_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(pressure.time, "monotonic", lambda: now[0])
    one = Pressure()
    with one.of(large=True):
        now[0] += 3600
        assert one.is_on()
    now[0] += pressure.LINGER_SECONDS * 0.9
    assert one.is_on()
    now[0] += pressure.LINGER_SECONDS * 0.2
    assert not one.is_on()


def test_work_that_fails_ends_the_pressure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "LINGER_SECONDS", 0.0)
    one = Pressure()
    with pytest.raises(RuntimeError), one.of(large=True):
        raise RuntimeError
    assert not one.is_on()
