"""A program on a pseudo-terminal of any size, and the screen that a person would see (pyte)."""

import fcntl
import itertools
import os
import pty
import select
import struct
import termios
import time

import pyte

PATIENCE = 60  # seconds
PROMPT = "dbg> "


class Terminal:
    """settings: environment variables; None takes one away."""

    def __init__(self, command, columns=80, rows=50, **settings):
        self.screen = pyte.HistoryScreen(columns, rows, history=100000)
        self.stream = pyte.ByteStream(self.screen)
        self.bytes, self.looked, self.ended = b"", 0, False
        defaults = {"TERM": "xterm", "INPUTRC": "/dev/null", "PAGER": "cat", "COLUMNS": None, "LINES": None, "NO_COLOR": None}
        environment = {**os.environ, **defaults, **settings}
        environment = {name: value for name, value in environment.items() if value is not None}
        size = struct.pack("HHHH", rows, columns, 0, 0)
        self.child, self.master = pty.fork()
        if self.child == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)
            os.execve(command[0], command, environment)

    def take(self, seconds):
        """Takes output for as long as it comes, waiting at most this long for the first of it."""
        while not self.ended and select.select([self.master], [], [], seconds)[0]:
            try:
                piece = os.read(self.master, 65536)
            except OSError:  # the other end is closed
                piece = b""
            self.ended = not piece
            self.bytes += piece
            self.stream.feed(piece)
            seconds = 0.01

    def type(self, keys):
        os.write(self.master, keys.encode())

    def expect(self, text):
        """Waits for a text behind those that were expected before."""
        end = time.monotonic() + PATIENCE
        wanted = text.encode()
        while wanted not in self.bytes[self.looked :]:
            if self.ended or time.monotonic() > end:
                raise SystemExit(f"expected {text!r} on the terminal, behind:\n{self.bytes[-3000:].decode(errors='replace')}")
            self.take(0.2)
        self.looked += self.bytes[self.looked :].index(wanted) + len(wanted)

    def shown_by(self, line):
        """Types a line at the prompt; returns the lines of the screen from there to the next prompt."""
        self.take(0.01)
        self.looked = len(self.bytes)
        before = self.n_lines() - 1
        self.type(line + "\r")
        self.expect("\n")
        self.expect(PROMPT)
        self.take(0.02)
        lines = self.lines(before)
        last = max(i for i, text in enumerate(lines) if text.startswith(PROMPT.strip()))
        return lines[1:last]

    def lines(self, first=0):
        """All that was shown, line by line from number `first` on, without blanks at the ends."""
        rows = itertools.islice(self.screen.history.top, first, None)
        history = ["".join(row[x].data for x in range(self.screen.columns)) for row in rows]
        shown = self.screen.display[max(first - len(self.screen.history.top), 0) :]
        return [line.rstrip() for line in history + shown]

    def n_lines(self):
        """Lines up to the cursor's."""
        return len(self.screen.history.top) + self.screen.cursor.y + 1

    def end(self):
        """Waits for the program's end; returns its exit status."""
        stop = time.monotonic() + PATIENCE
        while not self.ended and time.monotonic() < stop:
            self.take(0.2)
        os.close(self.master)
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
