"""Sends a made-up week of a small cinema: 5 movies, 150 viewers, always the same events.

Needs only Python's standard library.

Each event has a fixed event_id, so running it again stores nothing twice.

python3 docs/examples/sample_week.py http://localhost:8000
"""

import json
import random
import sys
import urllib.request
import uuid

NAMES = uuid.UUID("0f1e2d3c-4b5a-4968-8776-655443322110")
MONDAY = 1794787200  # 2026-11-16 00:00 UTC
DAY, HOUR, MINUTE = 86_400, 3_600, 60
MOVIES = {"Solaris": 167, "Stalker": 162, "Mirror": 107, "Nostalghia": 125, "Sacrifice": 149}  # minutes
ZONES = ("Europe/Moscow", "Europe/Berlin", "Asia/Almaty")
BATCH = 500


def week():
    """Return all events, in the order of their time."""
    chance = random.Random(2026)
    events = []
    for viewer in range(150):
        zone = chance.choice(ZONES)
        for day in sorted(chance.sample(range(7), chance.choice((1, 1, 2, 3)))):
            movie = chance.choices(list(MOVIES), weights=(8, 5, 4, 2, 1))[0]
            evening = MONDAY + day * DAY + round(chance.gauss(18 * HOUR, 2 * HOUR))
            events += sitting(chance, f"viewer-{viewer}", zone, movie, evening)
    return sorted(events, key=lambda event: (event["payload"]["event_timestamp"], event["event_id"]))


def sitting(chance, viewer, zone, movie, start):
    """Return what one viewer does in front of one movie."""
    minutes = MOVIES[movie]
    watched = minutes if chance.random() < 0.55 else chance.randrange(5, minutes)
    kinds = [("play", 0)] + [("watch-progress", minute) for minute in range(10, watched, 10)]
    kinds += [("pause", chance.randrange(watched))] * (chance.random() < 0.4)
    kinds += [("finish" if watched == minutes else "stop", watched)]
    if chance.random() < 0.5:
        kinds += [("like", watched)] + [("unlike", watched + 1)] * (chance.random() < 0.2)
    return [event(viewer, zone, movie, kind, minute, start) for kind, minute in kinds]


def event(viewer, zone, movie, kind, minute, start):
    """Return one event; the minute of the movie is in event_data."""
    payload = {
        "movie_id": str(uuid.uuid5(NAMES, movie)),
        "user_id": str(uuid.uuid5(NAMES, viewer)),
        "event": kind,
        "event_data": json.dumps({"title": movie, "minute": minute, "minutes": MOVIES[movie]}),
        "event_timestamp": start + minute * MINUTE,
    }
    event_id = str(uuid.uuid5(NAMES, f"{viewer} {movie} {kind} {payload['event_timestamp']}"))
    return {"payload": payload, "timezone": zone, "version": "sample-week", "event_id": event_id}


def send(url, batch):
    """Return how many events of a batch were accepted."""
    request = urllib.request.Request(f"{url}/api/v1/batch_produce", json.dumps(batch).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["accepted"]


if __name__ == "__main__":
    everything = week()
    parts = [everything[start : start + BATCH] for start in range(0, len(everything), BATCH)]
    print("accepted:", sum(send(sys.argv[1], part) for part in parts))
