"""Sends three events in a batch by REST, and sends again what was not stored. Needs only Python's standard library.

python3 docs/examples/send_events.py http://localhost:8000
"""

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
import uuid
from email.utils import parsedate_to_datetime

ATTEMPTS_MAX = 5
DELAY_SECONDS_MAX = 60
# Of google.rpc.Code: FAILED_PRECONDITION (Kafka rejects events until an operator acts) and UNAVAILABLE.
RETRIED_CODES = (9, 14)
# 502 is a proxy's own answer; the others are also the gateway's.
RETRIED_STATUSES = (429, 502, 503, 504)
MOVIE, VIEWER = "1ec4cd73-2fd5-4f25-af68-b6595d279af2", "5f0c6a1e-3b1d-4f7e-9a53-0d6f2b8c4e11"


def event(kind):
    """Return one event; its event_id makes it safe to send again."""
    payload = {"movie_id": MOVIE, "user_id": VIEWER, "event": kind, "event_timestamp": int(time.time())}
    return {"payload": payload, "event_id": str(uuid.uuid4()), "version": "example-1"}


def send(url, events):
    """Send events until each is stored or rejected; return how many were stored, and the events to keep."""
    stored = 0
    for _ in range(ATTEMPTS_MAX):
        status, answer, delay = post(url, events)
        if "accepted" in answer:
            stored += answer["accepted"]
            for each in answer["rejected"]:
                print("rejected:", each["error"]["message"])
            events = [events[each["index"]] for each in answer["rejected"] if each["error"]["code"] in RETRIED_CODES]
        elif status not in RETRIED_STATUSES and answer.get("code") not in RETRIED_CODES:
            print("not sent again:", status, answer.get("message"))
            break
        if not events:
            break
        time.sleep(delay)
    return stored, events


def post(url, events):
    """Return the answer to a batch: its HTTP status, its JSON and how many seconds to wait before the next attempt."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/v1/batch_produce", json.dumps(events).encode(), headers)
    try:
        try:
            answer = urllib.request.urlopen(request, timeout=15)
        except urllib.error.HTTPError as error:  # an answer with another status than 2xx
            answer = error
        with answer:
            return answer.status, parsed(answer.read()), seconds(answer.headers.get("Retry-After", "1"), time.time())
    except (OSError, http.client.HTTPException) as error:  # no answer: the events may be stored or not
        return 503, {"message": str(error)}, 1


def parsed(body):
    """Return the JSON object of an answer; an empty one when a proxy has answered with a page of its own."""
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def seconds(retry_after, now):
    """Return how long to wait for Retry-After, which is a number of seconds or a date; at most DELAY_SECONDS_MAX."""
    try:
        delay = int(retry_after) if retry_after.isdecimal() else parsedate_to_datetime(retry_after).timestamp() - now
    except ValueError:
        delay = 1
    return min(max(delay, 0), DELAY_SECONDS_MAX)


if __name__ == "__main__":
    stored, kept = send(sys.argv[1], [event("play"), event("pause"), event("not a kind!")])
    print("stored:", stored)
    print("to send again later:", len(kept))
