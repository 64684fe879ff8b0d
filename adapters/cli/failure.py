"""What a person did that the command line cannot work with."""


class UsageError(Exception):
    """Bad input: its text is all that is printed; the exit status is 2."""
