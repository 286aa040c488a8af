"""What can go wrong with child processes; the texts are for the user.

ProgramError       a program cannot be started, does not become ready, or keeps dying
  PortBusyError    a port that a program needs is taken
StoppedError       the user stopped everything while something was awaited
"""

from __future__ import annotations


class ProgramError(Exception):
    """A program cannot be started, does not become ready, or keeps dying."""


class PortBusyError(ProgramError):
    """A port that a program needs is taken."""


class StoppedError(Exception):
    """A stop signal arrived while something was awaited."""
