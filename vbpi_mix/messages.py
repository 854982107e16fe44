"""Messages between the processes of a job, by torch.distributed: a word, facts and arrays.

A message is two tensors of bytes: the length of the second, int64 [1], and a line of JSON (word, facts, types and shapes of the
arrays) with the arrays behind it. Nothing that is received is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist


@dataclass(frozen=True, eq=False)
class Message:
    """word: what it is about. facts: what JSON can hold. arrays: of at least one dimension each."""

    word: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: tuple[np.ndarray, ...] = ()


class Sending:
    """Messages under way; what they consist of is kept until they have arrived."""

    def __init__(self) -> None:
        self._parts: list[tuple[torch.Tensor, Any]] = []

    def add(self, part: torch.Tensor, to: int, group: Any) -> None:
        """Begin to send a tensor to a rank."""
        self._parts.append((part, dist.isend(part, to, group)))

    def wait(self) -> None:
        """Until all have arrived. RuntimeError if one cannot."""
        for _, work in self._parts:
            work.wait()


class Channel:
    """What a process sends and receives in a process group, None for that of all."""

    def __init__(self, group: Any = None) -> None:
        self._group = group

    def send(self, message: Message, to: int, sending: Sending | None = None) -> None:
        """Send a message, and wait until it has arrived unless it joins others that are under way. RuntimeError if the other
        process has ended."""
        own = sending or Sending()
        content = _encoded(message)
        own.add(torch.tensor([content.numel()]), to, self._group)
        own.add(content, to, self._group)
        if sending is None:
            own.wait()

    def receive(self, source: int) -> Message:
        """The next message of a rank. RuntimeError if it has ended."""
        length = torch.empty(1, dtype=torch.int64)
        dist.recv(length, source, self._group)
        content = torch.empty(int(length), dtype=torch.uint8)
        dist.recv(content, source, self._group)
        return _decoded(content.numpy())


def _encoded(message: Message) -> torch.Tensor:
    """uint8 [L]."""
    arrays = [np.ascontiguousarray(array) for array in message.arrays]
    layout = [(array.dtype.str, array.shape) for array in arrays]
    head = json.dumps([message.word, dict(message.facts), layout]).encode() + b"\n"
    parts = [np.frombuffer(head, np.uint8), *(array.reshape(-1).view(np.uint8) for array in arrays)]
    return torch.from_numpy(np.concatenate(parts))


def _decoded(content: np.ndarray) -> Message:
    """The message of uint8 [L]; its arrays have memory of their own, aligned as kernels want it."""
    head, line_end = bytes(content[:_HEAD_AT_ONCE]), b"\n"
    if line_end not in head:
        head = bytes(content)
    at = head.index(line_end) + 1
    word, facts, layout = json.loads(head[:at])
    arrays = []
    for kind, shape in layout:
        array = np.empty(shape, np.dtype(kind))
        array.reshape(-1).view(np.uint8)[:] = content[at : at + array.nbytes]
        at += array.nbytes
        arrays.append(array)
    return Message(word, facts, tuple(arrays))


# Bytes in which the line of JSON is looked for first: arrays may be large.
_HEAD_AT_ONCE = 4096
