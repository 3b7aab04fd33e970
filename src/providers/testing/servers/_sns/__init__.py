"""The parts of the local Amazon SNS for texts; `providers.testing.servers.sns` puts them together."""
