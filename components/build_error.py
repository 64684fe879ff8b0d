"""What a spec asks for cannot be built."""


class BuildError(ValueError):
    """A spec, or the settings of a run, ask for something that cannot be built; the text says what and why."""
