"""Processes of a job of which the first does the work and the others, its followers, answer what it asks.

The first draws all random numbers, takes all decisions and writes all files, as one process alone would. Followers are asked
for numbers that are the same wherever they are computed, so that the results do not depend on how many there are, digit for
digit. They hold nothing that the first lacks: what was begun with some can be resumed with others, or with none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

from vbpi_mix.errors import ProcessesError
from vbpi_mix.files import sha256_of
from vbpi_mix.messages import Channel, Message

Answer = Callable[[Message], Message | None]
_END, _FILES, _HERE = "end", "files", "here"
# A process that nothing is asked of is asked whether it is still there, so often: all end with the first that has ended.
CALL_SECONDS = 2.0
_GONE = "has ended or cannot be reached: start all again; a fit goes on with --resume, on any number of processes"
# In the facts of the last message: the exit status of all.
STATUS = "status"


class Followers:
    """The other processes, as the first one sees them.

    size: of the job, the first process included.
    """

    def __init__(self, channel: Channel, size: int) -> None:
        self.size = size
        self._channel = channel
        self._numbers = 0
        self._called = time.monotonic()
        self._due: set[int] = set()  # ranks that owe an answer
        self._lost: set[int] = set()

    def new_number(self) -> int:
        """A name for something that followers are told of, such as a posterior."""
        self._numbers += 1
        return self._numbers

    def shares(self, total: int) -> list[slice]:
        """`total` rows, shared out in the order of ranks, as evenly as can be; none if there are fewer rows than processes."""
        ends = [total * rank // self.size for rank in range(self.size + 1)]
        return [slice(first, last) for first, last in pairwise(ends)]

    def greeting(self, rank: int) -> Message:
        """The message with which a follower begins. ProcessesError if it has ended."""
        return self._receive(rank)

    def tell(self, message: Message) -> None:
        """Send all of them what wants no answer. ProcessesError if one has ended."""
        for rank in range(1, self.size):
            self._send(message, rank)

    def ask(self, questions: Mapping[int, Message]) -> Callable[[], list[Message]]:
        """Send questions by rank; what is returned waits for the answers, and gives them in the order of ranks. Meanwhile the
        first process can do its own share. ProcessesError if one has ended."""
        for rank, question in questions.items():
            self._send(question, rank)
            self._due.add(rank)
        if len(questions) == self.size - 1:
            self._called = time.monotonic()
        return lambda: [self._receive(rank) for rank in sorted(questions)]

    def keep_in_touch(self) -> None:
        """See whether all are there, unless they were asked something of late. ProcessesError if one has ended."""
        if time.monotonic() - self._called > CALL_SECONDS:
            self.ask(dict.fromkeys(range(1, self.size), Message(_HERE)))()

    def end(self, status: int) -> None:
        """Let all of them exit with this status; in silence also those that still owe an answer."""
        for rank in sorted(self._due):
            with suppress(ProcessesError):
                self._receive(rank)
        for rank in range(1, self.size):
            if rank not in self._lost:
                with suppress(ProcessesError):
                    self._send(Message(_END, {STATUS: status}), rank)

    def _send(self, message: Message, rank: int) -> None:
        with self._watching(rank):
            self._channel.send(message, rank)

    def _receive(self, rank: int) -> Message:
        with self._watching(rank):
            found = self._channel.receive(rank)
        self._due.discard(rank)
        return found

    @contextmanager
    def _watching(self, rank: int) -> Iterator[None]:
        """ProcessesError if the process has ended."""
        try:
            yield
        except OSError as error:
            self._lost.add(rank)
            self._due.discard(rank)
            raise ProcessesError(f"process {rank + 1} of {self.size} {_GONE}") from error


_FOLLOWERS: Followers | None = None


def followers() -> Followers | None:
    """Those of this process; None if it has none."""
    return _FOLLOWERS


@contextmanager
def leading(found: Followers) -> Iterator[None]:
    """Within it, `followers` gives these. What ends it is not told to them: `Followers.end` is."""
    global _FOLLOWERS
    _FOLLOWERS = found
    try:
        yield
    finally:
        _FOLLOWERS = None


def check_same_files(paths: Iterable[str | os.PathLike[str]]) -> None:
    """ProcessesError, naming the file, if another process sees other contents under one of these names, or none. Files that
    are not there do not count, and without followers there is nothing to compare."""
    team, names = followers(), [str(path) for path in paths if Path(path).is_file()]
    if team is None or not names:
        return
    question = Message(_FILES, {"names": names})
    answers = team.ask(dict.fromkeys(range(1, team.size), question))
    own = _digests(question).facts["digests"]
    for rank, answer in enumerate(answers(), 1):
        for name, wanted, found in zip(names, own, answer.facts["digests"], strict=True):
            if found != wanted:
                sees = f"does not see {name}" if found is None else f"sees another {name} than the first"
                raise ProcessesError(f"process {rank + 1} of {team.size} {sees}: let all see the same files")


def _digests(message: Message) -> Message:
    """SHA-256 of files, None of those that are not there."""
    found = [sha256_of(Path(name)) if Path(name).is_file() else None for name in message.facts["names"]]
    return Message(_FILES, {"digests": found})


# Of every follower, whatever it knows besides.
COMMON_ANSWERS: Mapping[str, Answer] = {_FILES: _digests, _HERE: lambda message: message}


def follow(channel: Channel, greeting: Message, answers: Mapping[str, Answer]) -> int:
    """Greet the first process, and answer it, by the words of its messages, until it has ended; returns the exit status of
    all. ProcessesError if it ends without a word."""
    with _first_is_there():
        channel.send(greeting, 0)
    while True:
        with _first_is_there():
            message = channel.receive(0)
        if message.word == _END:
            return int(message.facts[STATUS])
        answer = {**answers, **COMMON_ANSWERS}[message.word](message)
        if answer is not None:
            with _first_is_there():
                channel.send(answer, 0)


@contextmanager
def _first_is_there() -> Iterator[None]:
    """ProcessesError if it is not."""
    try:
        yield
    except OSError as error:
        raise ProcessesError(f"the first process {_GONE}") from error
