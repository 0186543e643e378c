"""Commands of ``flowkit``, one module each, imported on first use."""
