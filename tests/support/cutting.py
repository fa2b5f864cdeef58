"""A TCP proxy on loopback that cuts every connection after so many bytes upward, as often as it was told to."""

import contextlib
import socket
import threading
from typing import Self


class CuttingProxy:
    """Listens on ``port``; ``cuts`` are bytes upward after which a connection ends, one cut after the other."""

    def __init__(self, to_port: int, cuts: list[int]) -> None:
        self._to_port = to_port
        self._cuts = list(cuts)
        self.made = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._to_port))
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()
            self._up(client, server)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        total = 0
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
                total += len(data)
                if self._cuts and total >= self._cuts[0]:
                    self._cuts.pop(0)
                    self.made += 1
                    break
        _end(client, server)

    @staticmethod
    def _down(server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        _end(client, server)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
