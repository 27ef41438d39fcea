"""Runs a command on a terminal of its own, types into it, and says what it showed.

Arguments: the text to type, a line after each question; the name of a signal to send instead of the last line break, or
nothing (INT is typed, as Ctrl-C is, behind the text; others come instead of it; LATER is Ctrl-C once all is answered);
the command. Prints JSON: what the
terminal showed, the exit status, and whether the terminal echoes in the end.
"""

import fcntl
import json
import os
import pty
import signal
import sys
import termios
import time

lines, name, command = sys.argv[1], sys.argv[2], sys.argv[3:]
# Its other end is open for as long as we look at it.
terminal, other_end = pty.openpty()
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(other_end, termios.TIOCSCTTY, 0)
    for stream in range(3):
        os.dup2(other_end, stream)
    os.execv(command[0], command)
shown = b""


def echoes():
    return bool(termios.tcgetattr(other_end)[3] & termios.ECHO)


def read_until(text):
    global shown
    while text not in shown:
        shown += os.read(terminal, 4096)


def wait_for_echo(wanted):
    deadline = time.monotonic() + 20
    while echoes() != wanted:
        if time.monotonic() > deadline:
            sys.exit(f"echo is not {wanted}; shown: {shown}")
        time.sleep(0.002)


for number, line in enumerate(lines.splitlines(keepends=True)):
    read_until(b": " if number == 0 else b"again: ")
    wait_for_echo(False)
    if name == "INT":
        # The terminal makes the signal of it.
        os.write(terminal, line.encode() + b"\x03")
    elif name and name != "LATER":
        # What is typed in this moment, the terminal might only look at when it echoes again.
        os.kill(child, getattr(signal, f"SIG{name}"))
    else:
        os.write(terminal, line.encode())

if name == "LATER":
    wait_for_echo(True)
    # Until it has gone on: it is not ended before either, and then this shows nothing.
    time.sleep(0.5)
    os.write(terminal, b"\x03")
_, status = os.waitpid(child, 0)
os.set_blocking(terminal, False)
try:
    while more := os.read(terminal, 4096):
        shown += more
except (BlockingIOError, OSError):
    pass
print(json.dumps({"shown": shown.decode(), "status": os.waitstatus_to_exitcode(status), "echo": echoes()}))
