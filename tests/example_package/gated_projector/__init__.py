"""A projector that somebody else wrote."""
