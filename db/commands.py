"""The commands of this package as they are installed: each loads its libraries where Ctrl-C is already handled."""

from __future__ import annotations

from common.starting import interruptible_from_the_start


def migrate() -> None:
    """Make topic and tables."""
    interruptible_from_the_start("ugc-migrate")
    from db.migrate import main

    main()


def audit() -> None:
    """Audit."""
    interruptible_from_the_start("ugc-audit")
    from db.audit import main

    main()


def replay() -> None:
    """Replay rejected events."""
    interruptible_from_the_start("ugc-replay")
    from db.replay import main

    main()
