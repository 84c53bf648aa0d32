"""The exceptions of this package: the one of safetensors, and what is also an error of the machine.

Where the package safetensors is installed its own class is taken, so that `except safetensors.SafetensorError` catches
what is raised here.
"""
try:
    from safetensors import SafetensorError
except ImportError:

    class SafetensorError(Exception):  # type: ignore[no-redef]
        """A file that is no valid checkpoint, a tensor that does not decode, or a request that makes no sense."""


class FileProblem(SafetensorError, OSError):
    """What the machine refused: an OSError too, made like one of errno, text and file name."""


class OutputExists(FileProblem, FileExistsError):
    """An output is there, and force was not given."""


class NoSuchFile(FileProblem, FileNotFoundError):
    """An input is not there."""


class NegativeBound(SafetensorError, OverflowError):
    """A slice that counts from the end, which safetensors refuses with an OverflowError."""
