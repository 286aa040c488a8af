"""Makes the records of a batch, in slices of time."""

from __future__ import annotations

from collections.abc import Sequence

from services.ingest.events.records import EventKeys, Records, receipt_milliseconds, stamp
from services.ingest.limits.time_slices import TimeSlice

# Events whose records are made between two checks of the time slice.
EVENTS_PER_CHECK = 500


async def make_records(encoded: Sequence[bytes], keys: EventKeys, time_slice: TimeSlice) -> Records:
    """Return the records of the accepted events of a batch."""
    now = receipt_milliseconds()
    if len(encoded) <= EVENTS_PER_CHECK:
        return stamp(encoded, keys, now)
    records = Records()
    for start in range(0, len(encoded), EVENTS_PER_CHECK):
        part = slice(start, start + EVENTS_PER_CHECK)
        stamped = stamp(encoded[part], EventKeys(keys.users[part], keys.identities[part]), now)
        records.keys.extend(stamped.keys)
        records.values.extend(stamped.values)
        if time_slice.is_expired:
            await time_slice.renew()
    return records
