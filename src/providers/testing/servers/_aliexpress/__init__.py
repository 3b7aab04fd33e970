"""Parts of the local AliExpress gateway."""
