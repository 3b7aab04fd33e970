"""The parts of the local SendGrid; `providers.testing.servers.sendgrid` puts them together."""
