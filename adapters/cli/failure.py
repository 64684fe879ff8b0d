"""What a person did that the command line cannot work with."""


class UsageError(Exception):
    """Bad input: its text is all that is printed; the exit status is 2."""


def is_for_people(error: BaseException) -> bool:
    """Whether the error's text says what is wrong with the input: our own errors do, others keep their traceback."""
    return type(error).__module__.partition(".")[0] in {"composer", "components", "adapters"}
