"""The parts of the local Amazon SES; `providers.testing.servers.ses` puts them together."""
