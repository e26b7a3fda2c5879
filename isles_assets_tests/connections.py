"""How the tests' servers let a client down."""

import socket
import struct
from contextlib import suppress
from http.server import BaseHTTPRequestHandler


def drop(handler: BaseHTTPRequestHandler, *, reset: bool = False) -> None:
    """End the connection in the middle, by closing it or, with `reset`, without a word."""
    handler.close_connection = True
    with suppress(OSError):
        if reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.close(handler.connection.detach())
        else:
            handler.connection.shutdown(socket.SHUT_RDWR)
