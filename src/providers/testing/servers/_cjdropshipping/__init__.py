"""Parts of the local CJ Dropshipping."""
