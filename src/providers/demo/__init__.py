"""What all made-up vendors share: staged faults, outcomes by address, signed webhooks."""
