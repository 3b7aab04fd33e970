"""The parts of the local Anthropic."""
