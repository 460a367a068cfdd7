"""Output in any encoding, and to readers that stop reading, such as ``head``."""

import errno
import io
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import click

STOPPED_READING: Final = {errno.EPIPE, errno.EINVAL}
"""The errors of a write to a closed pipe; Windows has the second one."""


class Failure(click.ClickException):
    """An error that a command prints in one line, in the encoding of the terminal. The exit code is 1."""

    def show(self, file: Any = None) -> None:  # noqa: ARG002 -- click never gives one
        """Print the error on stderr."""
        echo(f"Error: {self.format_message()}", err=True)


class _File(io.FileIO):
    """A file that drops what is written after its reader has gone, so that a command does all that it was asked to."""

    has_readers = True

    def write(self, data: Any, /) -> int:
        """Write what can be written."""
        try:
            return super().write(data) if self.has_readers else memoryview(data).nbytes
        except OSError as error:
            self.has_readers = False
            if error.errno in STOPPED_READING:
                return memoryview(data).nbytes
            raise Failure(f"The output cannot be written: {error.strerror}") from error


class _Output(io.TextIOWrapper):
    """A stream that escapes the characters that its encoding lacks."""

    def __init__(self, stream: Any) -> None:
        self.file = _File(stream.fileno(), "w", closefd=False)
        unbuffered: bool = stream.write_through
        super().__init__(
            self.file if unbuffered else io.BufferedWriter(self.file),
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=unbuffered,
        )


@contextmanager
def any_output() -> Generator[None, None, None]:
    """Let a command print to any terminal, file or pipe; the streams of Python are replaced meanwhile."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_replaced, before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def echo(text: str = "", *, err: bool = False) -> None:
    """Print one line; with *err*, on stderr."""
    # click would print UTF-8 if the encoding is ASCII, unless the stream is named.
    click.echo(text, file=sys.stderr if err else sys.stdout)


def is_read() -> bool:
    """Whether anybody can still read the output, as far as the writes have shown."""
    return not isinstance(sys.stdout, _Output) or sys.stdout.file.has_readers


def _replaced(stream: TextIO | None) -> TextIO:
    if stream is None:  # Its file was closed before Python started.
        return Path(os.devnull).open("w", encoding="utf-8")
    reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
    if isinstance(stream, _Output) or reconfigure is None:
        return stream
    try:
        if stream.isatty():  # Its readers do not leave, and Windows writes to it in another way.
            reconfigure(errors="backslashreplace")
            return stream
        stream.flush()
        return _Output(stream)
    except (OSError, ValueError):  # It is closed, or it has no file.
        return stream
