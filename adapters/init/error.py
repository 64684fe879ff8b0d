"""What stops a draft from being made at all."""


class InitError(ValueError):
    """No spec can be drafted: the text says what is missing and what to do."""
