"""Errors that a user can act on.

Every message says what is wrong, where, and what to do about it, in one line. The command line prints it
and exits with status 2; any other exception is a defect of this program and shows its traceback.
"""

from __future__ import annotations

# A file may have a name or a line of a million letters; a message has not.
_MOST_LETTERS = 1_000


class VbpiMixError(Exception):
    """Base of all errors that are expected in use.

    What a file says may be part of a message. So of one that is too long the middle is left out, and ends of lines and what else
    does not print, such as a terminal's commands, are written as escapes.
    """

    def __init__(self, message: str = "") -> None:
        # Cut before and after: of a million letters not one more than is shown is looked at, and escapes are longer.
        super().__init__(_cut(one_line(_cut(message))))


class AlignmentError(VbpiMixError):
    """An alignment or partition file is missing or malformed, or holds something that is none of its characters."""


class TreeError(VbpiMixError):
    """A tree or tree sample is malformed or does not fit the alignment."""


class SupportError(VbpiMixError):
    """The support does not hold a topology, clade or subsplit that was asked for."""


class ConfigError(VbpiMixError):
    """Options that do not fit together."""


class CheckpointError(VbpiMixError):
    """A checkpoint is corrupt, foreign, or of another model."""


class RunDirectoryError(VbpiMixError):
    """A run directory exists already, is missing, or was not made by this program."""


class RunExistsError(RunDirectoryError):
    """A run exists already where a new one should go."""


class ProcessesError(VbpiMixError):
    """The processes of a job cannot work together, or one of them has ended."""


def _cut(message: str) -> str:
    half = _MOST_LETTERS // 2
    return message if len(message) <= _MOST_LETTERS else f"{message[:half]} ... {message[-half:]}"


def one_line(text: str) -> str:
    r"""The text with every character that does not print as its escape, such as \n."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def shorten(text: str, most: int = 120) -> str:
    """A text for a message, with its middle left out if it is long."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 3 :]}"
