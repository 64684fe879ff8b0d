"""What can be wrong with a plan that is to be used."""


class PlanUseError(Exception):
    """A plan cannot be used this way; its text is all that is printed."""
