"""How the server of the nameko adapter sends its answers."""

import socket

import pytest

from xinhuo.chassis.adapters import wsgi


def test_an_answer_in_two_parts_does_not_wait_for_the_client_to_acknowledge_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served: list[socket.socket] = []
    monkeypatch.setattr(wsgi.eventlet.wsgi, "server", lambda listening, *_, **__: served.append(listening))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        wsgi.serve(listening, lambda *_: [], seconds=1, connections=1, leaving=bool)
        with socket.create_connection(listening.getsockname()):
            accepted, _ = served[0].accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
