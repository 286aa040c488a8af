"""The state of reading one JSON body: the location in it, the unknown names, and errors that name the location."""

from __future__ import annotations

from gateway.errors import QUOTED_CHARACTERS_MAX, UndecodableError, quoted
from gateway.json.text import Value, show

# The limit of the unknown names that a response lists in a header.
UNKNOWN_NAMES_MAX = 20
# Protobuf parsers refuse 100 levels, and one level of JSON may be three of Protobuf: deeper messages are checked.
SHALLOW_LEVELS_MAX = 30
NAME_CHARACTERS_MAX = 60
# The steps of a location in an error message or a header.
LOCATION_STEPS_MAX = 20


class ReadContext:
    """Where in a body its reader is, and what it has found so far.

    With `strict` an unknown name of a field or an enum value is an error; without it is ignored.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        # Names, and indexes such as `[2]`, from the outside to the inside.
        self.path: list[str] = []
        # A dict, because it keeps the order.
        self.unknown: dict[str, None] = {}
        self.is_deep = False

    def note_depth(self) -> None:
        """Record whether the message may be nested deeper than Protobuf parsers accept."""
        if len(self.path) > SHALLOW_LEVELS_MAX:
            self.is_deep = True

    def unknown_name(self, name: str) -> None:
        """Record a name that the message does not have, once for all items of a list."""
        if self.strict:
            raise UndecodableError(f'unknown field "{self.location(name)}"')
        if len(self.unknown) < UNKNOWN_NAMES_MAX:
            # Cut, because a name may have megabytes, and there may be hundreds of levels for every unknown name.
            named = [step for step in (*self.path[:LOCATION_STEPS_MAX], name) if not step.startswith("[")]
            self.unknown[".".join(step[: QUOTED_CHARACTERS_MAX + 1] for step in named)] = None

    def invalid(self, type_name: str, value: Value) -> UndecodableError:
        """Return the error for a value that is not a JSON form of a type."""
        return UndecodableError(f"invalid value for {type_name} field {self.location()}: {show(value)}")

    def error(self, text: str) -> UndecodableError:
        """Return an error at the current location."""
        return UndecodableError(f"{self.location() or 'the body'}: {text}")

    def location(self, *more: str) -> str:
        """Return the current location, as in `events[2].labels`."""
        steps = [*self.path, *more]
        if len(steps) > LOCATION_STEPS_MAX:
            steps = [*steps[: LOCATION_STEPS_MAX // 2], "...", *steps[-LOCATION_STEPS_MAX // 2 :]]
        return ".".join(quoted(step, NAME_CHARACTERS_MAX) for step in steps).replace(".[", "[")
