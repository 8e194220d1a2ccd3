"""Networks, data, losses, metrics and the training command."""

import matter_sdk  # noqa: F401 - so that training.x and matter_sdk.training.x are one module
