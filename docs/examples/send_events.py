"""Sends three events in a batch by REST, and sends again what was not stored. Needs Python alone.

python3 docs/examples/send_events.py http://localhost:8000
"""

import json
import sys
import time
import urllib.error
import urllib.request
import uuid

ATTEMPTS_MAX = 5
UNAVAILABLE = 14  # google.rpc.Code
MOVIE, VIEWER = "1ec4cd73-2fd5-4f25-af68-b6595d279af2", "5f0c6a1e-3b1d-4f7e-9a53-0d6f2b8c4e11"


def event(kind):
    """Return one event; its event_id makes it safe to send again."""
    payload = {"movie_id": MOVIE, "user_id": VIEWER, "event": kind, "event_timestamp": int(time.time())}
    return {"payload": payload, "event_id": str(uuid.uuid4()), "version": "example-1"}


def post(url, events):
    """Return the answer to a batch: its HTTP status, its JSON and how many seconds to wait before the next attempt."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/v1/batch_produce", json.dumps(events).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return answer.status, json.load(answer), 1
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), int(error.headers.get("Retry-After", 1))
    except OSError as error:  # no answer: the events may be stored or not
        return 503, {"message": str(error)}, 1


def send(url, events):
    """Send events until each is stored or rejected for good; return how many were stored."""
    stored = 0
    for _ in range(ATTEMPTS_MAX):
        status, answer, delay = post(url, events)
        if status in (201, 207):
            stored += answer["accepted"]
            rejected = answer["rejected"]
            for each in rejected:
                print("rejected:", each["error"]["message"])
            events = [events[each["index"]] for each in rejected if each["error"]["code"] == UNAVAILABLE]
        elif status not in (429, 503, 504):
            print("not sent again:", answer["message"])
            break
        if not events:
            break
        time.sleep(delay)
    return stored


if __name__ == "__main__":
    print("stored:", send(sys.argv[1], [event("play"), event("pause"), event("not a kind!")]))
