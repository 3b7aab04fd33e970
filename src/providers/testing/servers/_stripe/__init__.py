"""The parts of the local Stripe; `providers.testing.servers.stripe` puts them together."""
