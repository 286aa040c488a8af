"""The table of a profile."""

from __future__ import annotations

from tests.support.benchmarks.profile import top


def test_table_of_functions() -> None:
    """A function's own share counts the samples in which it was the last, `within` those in which it was called at all.

    A recursive function counts once a sample, and the shares are of all samples that were taken.
    """
    stacks = [
        "main (a.py);walk (a.py);walk (a.py) 30",
        "main (a.py);walk (a.py);read (b.py) 20",
        "main (a.py) 10",
        "",
        "x",
    ]

    assert top(stacks, 100).splitlines() == [
        "    own  within  function; 60 of 100 samples",
        "  30.0%   50.0%  walk (a.py)",
        "  20.0%   20.0%  read (b.py)",
        "  10.0%   60.0%  main (a.py)",
    ]
