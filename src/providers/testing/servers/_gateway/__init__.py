"""Parts of the local LLM gateway."""
