"""The machinery every capability shares. It knows no capability and no vendor."""
