"""The search for an execution: every one of a stated space is looked at."""
