"""Messages between the first process of a job and the others: a word, facts and arrays, each over a connection of its own.

A message is its length, eight bytes, a line of JSON (word, facts, types and shapes of the arrays) and the arrays. Nothing that
is received is unpickled. torch.distributed, by which the processes have met, tells where to connect; its own messages between
processors cost several times as much, and a thread that wakes for each.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

_LENGTH, _SECRET, _RANK = 8, 32, 8
# Seconds in which all must have connected, and in which one that connects must have said who it is.
_MEETING, _WORD = 60.0, 10.0
# A connection on which nothing is heard is tried after so many seconds, again after so many, and given up after so many times, or
# where something was sent after so many milliseconds: a machine may be lost without a word.
_KEEPING = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 8, "TCP_USER_TIMEOUT": 180_000}


@dataclass(frozen=True, eq=False)
class Message:
    """word: what it is about. facts: what JSON can hold. arrays: of at least one dimension each."""

    word: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: tuple[np.ndarray, ...] = ()


class Channel:
    """Connections to other processes, by rank."""

    def __init__(self, connections: Mapping[int, socket.socket]) -> None:
        self._connections = connections
        for each in connections.values():
            each.settimeout(None)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPING.items():
                if hasattr(socket, name):
                    each.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def send(self, message: Message, to: int) -> None:
        """Send a message. OSError if the other process has ended."""
        content = encode(message)
        connection = self._connections[to]
        connection.sendall(len(content).to_bytes(_LENGTH, "big"))
        connection.sendall(content.data)

    def receive(self, source: int) -> Message:
        """The next message of a rank. OSError if it has ended."""
        connection = self._connections[source]
        return decode(_read(connection, int.from_bytes(_read(connection, _LENGTH), "big")))

    def close(self) -> None:
        """End the connections."""
        for each in self._connections.values():
            each.close()


def meet() -> Channel:
    """In a process group: connect the first process with each other one. OSError if they cannot meet."""
    rank, size = dist.get_rank(), dist.get_world_size()
    # Where to connect, and a secret that shows who belongs to the job.
    note = torch.zeros(1 + _SECRET, dtype=torch.int64)
    if rank:
        dist.broadcast(note, 0)
        port, *secret = note.tolist()
        connection = socket.create_connection((os.environ["MASTER_ADDR"], port), _MEETING)
        connection.sendall(bytes(secret) + rank.to_bytes(_RANK, "big"))
        return Channel({0: connection})
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    with socket.create_server(("", 0), family=family, dualstack_ipv6=both, backlog=size) as server:
        token = secrets.token_bytes(_SECRET)
        note[0], note[1:] = server.getsockname()[1], torch.tensor(list(token))
        dist.broadcast(note, 0)
        server.settimeout(_MEETING)
        found: dict[int, socket.socket] = {}
        while len(found) < size - 1:
            connection = server.accept()[0]
            connection.settimeout(_WORD)
            with suppress(OSError):
                said = bytes(_read(connection, _SECRET + _RANK))
                if secrets.compare_digest(said[:_SECRET], token):
                    found[int.from_bytes(said[_SECRET:], "big")] = connection
    return Channel(found)


def _read(connection: socket.socket, count: int) -> np.ndarray:
    """So many bytes, uint8 [count]. OSError if they do not come."""
    content = np.empty(count, np.uint8)
    view, filled = content.data, 0
    while filled < count:
        more = connection.recv_into(view[filled:])
        if more == 0:
            raise ConnectionResetError("the other process has closed the connection")
        filled += more
    return content


def encode(message: Message) -> np.ndarray:
    """As bytes, uint8 [L]."""
    arrays = [np.ascontiguousarray(array) for array in message.arrays]
    layout = [(array.dtype.str, array.shape) for array in arrays]
    head = json.dumps([message.word, dict(message.facts), layout]).encode() + b"\n"
    return np.concatenate([np.frombuffer(head, np.uint8), *(array.reshape(-1).view(np.uint8) for array in arrays)])


def decode(content: np.ndarray) -> Message:
    """The message of `encode`; its arrays have memory of their own, aligned as kernels want it. ValueError if it is none."""
    at = int(np.flatnonzero(content[:_HEAD_AT_ONCE] == _LINE_END)[:1].sum()) or bytes(content).index(b"\n")
    at += 1
    word, facts, layout = json.loads(bytes(content[:at]))
    arrays = []
    sizes = [np.dtype(kind).itemsize * math.prod(shape) for kind, shape in layout]
    if min(sizes, default=0) < 0 or at + sum(sizes) != content.size:
        raise ValueError("the arrays are not those that the line names")
    for kind, shape in layout:
        array = np.empty(shape, np.dtype(kind))
        array.reshape(-1).view(np.uint8)[:] = content[at : at + array.nbytes]
        at += array.nbytes
        arrays.append(array)
    return Message(word, facts, tuple(arrays))


# Bytes in which the end of the line of JSON is looked for first: arrays may be large.
_HEAD_AT_ONCE, _LINE_END = 4096, ord("\n")
