"""The one exception of this package."""


class SafetensorError(Exception):
    """A file that is no valid checkpoint, a tensor that does not decode, or a request that makes no sense."""
