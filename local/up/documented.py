"""The event that is documented to clients, byte for byte; its lines are longer than ours."""

DOCUMENTED_EVENT = """\
{"payload": {"movie_id": "1ec4cd73-2fd5-4f25-af68-b6595d279af2", "user_id": "1ec4cd73-2fd5-4f25-af68-b6595d279af2",
             "event": "some_event", "event_data": "some_event_data", "event_timestamp": 1621932759},
 "language": "RU", "timezone": "Europe/Moscow", "ip": "192.168.1.1", "version": "1.0", "some_client_data": "some_client_data"}"""  # noqa: E501 -- the documented line, as it is
