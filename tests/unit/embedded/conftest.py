"""What the tests of the embedded platform share."""

import socket
from contextlib import ExitStack

import pytest


@pytest.fixture
def free_ports():
    """So many ports of 127.0.0.1 that nobody listens on."""

    def find(count):
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            return [one.getsockname()[1] for one in sockets]

    return find
