"""HTTP/1.1 for the test endpoint: one protocol object per connection, with keep-alive, and no more than it needs."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_REASONS = {status.value: status.phrase for status in HTTPStatus}
#: Pieces of a body that is sent slowly.
PIECES = 8


class Connection(asyncio.Protocol):
    """Reads requests and hands each to `answer`, which calls `send` once, then or later; until then no other is read.

    `ended`: called once when the request under way is answered or its client has left. `sent`: called when the next
    answer has left entirely. `unread`: called if the client leaves without having read it: the system then resets the
    connection. All are set by `answer` for one request.
    """

    def __init__(self, answer: Callable[[Connection, str, str, bytes, bytes], None]) -> None:
        self.open = True
        self.ended: Callable[[], None] | None = None
        self.sent: Callable[[], None] | None = None
        self.unread: Callable[[], None] | None = None
        self._answer = answer
        self._data = bytearray()
        self._needed = 0
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)  # so that resume_writing tells when all has left

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self.unread is not None and self.sent is None and isinstance(exc, ConnectionResetError):
            self.unread()
        self.sent = self.unread = None
        self._end()

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._read()

    def resume_writing(self) -> None:
        self._left()

    def send(
        self, status: int, body: bytes, headers: str = "", *, keep: int | None = None, seconds: float = 0.0
    ) -> None:
        """Answer. `keep`: close after so many bytes of the body. `seconds`: send it in pieces over that time."""
        if not self.open:
            return
        head = f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\ncontent-length: {len(body)}\r\n"
        kind = "" if "content-type" in headers else "content-type: application/json\r\n"
        start = f"{head}{kind}{headers}\r\n".encode("latin-1")
        if keep is not None:
            self._transport.write(start + body[:keep])
            self._transport.close()
            self._end()
        elif seconds:
            size = max(1, -(-len(body) // PIECES))
            self._transport.write(start)
            self._trickle([body[place : place + size] for place in range(0, len(body), size)], seconds / PIECES)
        else:
            self._transport.write(start + body)
            self._done()

    def _trickle(self, pieces: list[bytes], pause: float) -> None:
        if not self.open:
            return
        self._transport.write(pieces.pop(0))
        if pieces:
            asyncio.get_running_loop().call_later(pause, self._trickle, pieces, pause)
        else:
            self._done()

    def _done(self) -> None:
        self._end()
        if not self._transport.get_write_buffer_size():
            self._left()
        self._busy = False
        if self._data:
            self._read()

    def _left(self) -> None:
        """Tell that the answer has left; pieces of a slow one leave one by one."""
        if self.sent is not None and self.ended is None:
            sent, self.sent = self.sent, None
            sent()

    def _end(self) -> None:
        if self.ended is not None:
            ended, self.ended = self.ended, None
            ended()

    def _read(self) -> None:
        while self._data and not self._busy and len(self._data) >= self._needed:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            found = _LENGTH.search(self._data, 0, end)
            total = end + 4 + (int(found.group(1)) if found else 0)
            if len(self._data) < total:
                self._needed = total
                return
            self._needed = 0
            head, body = bytes(self._data[:end]), bytes(self._data[end + 4 : total])
            del self._data[:total]
            self._busy = True
            self.unread = None  # who asks again has read the last answer
            try:
                method, target, _ = head[: head.index(b"\r\n")].decode("latin-1").split(" ")
            except ValueError:
                self.send(400, b"{}", keep=2)
                return
            if found is None and _CHUNKED.search(head):
                self.send(411, b"{}", keep=2)
                return
            self._answer(self, method, target, head, body)
