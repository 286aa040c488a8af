"""`ugc-up` as it is installed: it loads its libraries where Ctrl-C is already handled."""

from __future__ import annotations

from services.runtime.starting import interruptible_from_the_start


def up() -> None:
    """Run the whole system."""
    interruptible_from_the_start("ugc-up")
    from services.up.__main__ import main

    main()
