"""Many calls in one stream: the client of ugc.relay.v1.RelayService, for services that offer it."""
