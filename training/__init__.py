"""Networks, data, losses, metrics and the training command."""
