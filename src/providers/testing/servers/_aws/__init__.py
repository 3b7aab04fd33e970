"""What the local servers of Amazon's services share: signatures, protocols by the vendor's models, topics."""
