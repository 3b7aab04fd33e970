"""What ships for tests: local vendor servers and helpers."""
