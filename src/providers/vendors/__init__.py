"""What several capabilities share of one vendor: clients, credentials, errors, signatures."""
