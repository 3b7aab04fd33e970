"""Parts of the local Twilio."""
