"""`ugc-up` as it is installed: it loads its libraries where Ctrl-C is already handled."""

from __future__ import annotations

from common.starting import interruptible_from_the_start


def up() -> None:
    """Run the whole system."""
    interruptible_from_the_start("ugc-up")
    from local.up.__main__ import main

    main()


def servers() -> None:
    """Run the local servers."""
    interruptible_from_the_start("ugc-servers")
    from local.servers import main

    main()
