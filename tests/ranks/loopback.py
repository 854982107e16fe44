"""Followers in this process, to which messages go as bytes: what several processes compute, without them."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager

from vbpi_mix.followers import COMMON_ANSWERS, Followers, leading
from vbpi_mix.messages import decode, encode
from vbpi_mix.phylo.follower import TreeFollower
from vbpi_mix.phylo.models import shared


class Loopback:
    """A channel whose other ends answer at once."""

    def __init__(self, size):
        self.others = {rank: _Follower() for rank in range(1, size)}
        self.replies = {rank: deque() for rank in self.others}
        self.words = []

    def send(self, message, to):
        """Have it answered."""
        arrived = decode(encode(message))
        self.words.append(arrived.word)
        answer = self.others[to].answers[arrived.word](arrived)
        if answer is not None:
            self.replies[to].append(decode(encode(answer)))

    def receive(self, source):
        """The oldest answer."""
        return self.replies[source].popleft()


@contextmanager
def of_size(size, monkeypatch, least_work=0.0):
    """A job of `size` processes, which share out everything; yields the words of all messages, of none for one process."""
    channel = Loopback(size)
    with monkeypatch.context() as patch:
        patch.setattr(shared, "LEAST_WORK", least_work)
        if size == 1:
            yield channel.words
            return
        with leading(Followers(channel, size)):
            yield channel.words


class _Follower(TreeFollower):
    """What `follow` adds to the answers."""

    @property
    def answers(self):
        return {**super().answers, **COMMON_ANSWERS}
