"""The command `providers`: one module per command, plain functions."""
