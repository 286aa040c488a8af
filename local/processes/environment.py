"""The environment of child processes: chosen, so that nothing of the user's shell changes how they work by accident."""

from __future__ import annotations

from collections.abc import Mapping

# Where programs, files and time zones are found, and the project's own settings. Left out are, among others, proxies
# (every child talks to this machine or to the servers that its settings name), PYTHONPATH, CLASSPATH,
# JAVA_TOOL_OPTIONS and the variables that ClickHouse's clients read.
INHERITED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "JAVA_HOME", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE"}
)
# UGC_ are the settings, SSL_ says where the certificates of authorities are.
INHERITED_PREFIXES = ("UGC_", "SSL_")
# In the locale C, Java cannot open a file whose path has a letter beyond ASCII.
LOCALE = {"LC_ALL": "C.UTF-8"}


def child_environment(parent: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a child process: those of the parent that were chosen above, the locale, `added`."""
    chosen = {name: value for name, value in parent.items() if name in INHERITED or name.startswith(INHERITED_PREFIXES)}
    return {**chosen, **LOCALE, **added}
