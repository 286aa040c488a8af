"""Keeps secrets out of log lines: those of the process's settings by their values, all others by their form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, SecretStr

from common.kafka_settings import KafkaSecuritySettings
from common.secret_files import SecretFile

HIDDEN = "***"
# A shorter value is not searched for, because words of every line may contain it.
SECRET_CHARACTERS_MIN = 4
# A quote as it is written in a text, and in a text within another one.
QUOTE = r"\\*+[\"']?+"
# What precedes a secret, which is kept, and the secret. None of the latter matches a quote, a backslash or a line feed,
# so that a line in JSON stays one line of JSON.
FORMS = tuple(
    re.compile(f"(?P<kept>{kept}){secret}", re.IGNORECASE | re.ASCII)
    for kept, secret in (
        # The password of a URL.
        (r"://[^:@/\s\"'\\]*:", r"[^@/\s\"'\\]+(?=@)"),
        # A header in a request, a dictionary, or the metadata of gRPC; the text of an error has it with an ellipsis.
        (
            rf"authorization{QUOTE}\s*+[:=,]\s*+(?:{QUOTE}value{QUOTE}\s*+[:=]\s*+)?+(?:b(?=\\*[\"']))?+{QUOTE}",
            r"(?!Bearer \.\.\.)[^\"'\\\r\n,;)\]}]+",
        ),
        # The value of such a header alone, and a JSON Web Token alone.
        (r"(?:bearer|basic)\s+", r"[\w.~+/=-]{16,}"),
        ("", r"eyJ[\w-]{8,}[\w.-]*"),
        # A parameter of a URL, or a value in a dictionary.
        (rf"(?:password|passwd|secret){QUOTE}\s*+[:=]\s*+{QUOTE}", r"[^\"'\\\s,;&)\]}]+"),
    )
)


class Redactor:
    """Hides secrets in lines."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """`secrets` are hidden wherever they occur, also as they are written in a URL, in Python and in JSON."""
        self._spellings: set[str] = set()
        self._known: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Hide a further secret from now on; an earlier one stays hidden."""
        self._spellings.update(spellings_of(secret))
        longest_first = sorted(self._spellings, key=len, reverse=True)
        self._known = re.compile("|".join(map(escaped, longest_first))) if longest_first else None

    def hide(self, line: str) -> str:
        """Return the line without secrets."""
        if (known := self._known) is not None:
            line = known.sub(HIDDEN, line)
        for form in FORMS:
            line = form.sub(rf"\g<kept>{HIDDEN}", line)
        return line


def spellings_of(secret: str) -> Iterator[str]:
    """Yield how a secret may be written in a URL and elsewhere."""
    if len(secret) >= SECRET_CHARACTERS_MIN:
        plain = unquote(secret)
        yield from (secret, plain, quote(plain), quote(plain, safe=""))


def escaped(secret: str) -> str:
    """Return the pattern of a secret, whose quotes and backslashes have any number of backslashes before them."""
    return "".join(rf"\\*{re.escape(each)}" if each in "\"'\\" else re.escape(each) for each in secret)


def secrets_of(settings: BaseModel) -> list[str]:
    """Return the secrets among the values of settings: secret texts, those in files, and the passwords of URLs."""
    values = [value for _, value in settings]
    found = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
    found += [value.read() for value in values if isinstance(value, SecretFile)]
    if isinstance(settings, KafkaSecuritySettings):
        found += settings.secret_properties()
    texts = [text for value in values if isinstance(value, str) for text in value.split()]
    return found + [urlsplit(text).password or "" for text in texts if "://" in text]
