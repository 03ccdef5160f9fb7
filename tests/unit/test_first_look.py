"""Two threads that have msgspec look at a struct for the first time at once crash the process."""

import contextlib
from threading import Barrier, BrokenBarrierError, Thread
from typing import Any

import msgspec
import pytest

from xinhuo.contracts import codec
from xinhuo.contracts.volunteers import HoursLogged


@pytest.mark.parametrize("decoders", [codec._decoder_of, codec._whole_decoder_of])
def test_one_thread_at_a_time_looks_at_an_event(monkeypatch: pytest.MonkeyPatch, decoders: Any) -> None:
    meet = Barrier(2)
    met: list[bool] = []
    real = msgspec.json.Decoder

    def looking(kind: Any) -> Any:
        with contextlib.suppress(BrokenBarrierError):
            meet.wait(0.2)
            met.append(True)
        return real(kind)

    monkeypatch.setattr(msgspec.json, "Decoder", looking)
    decoders.cache_clear()
    threads = [Thread(target=decoders, args=(HoursLogged,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == []
