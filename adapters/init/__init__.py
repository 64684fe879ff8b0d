"""`vlm-composer init`: a commented spec for a checkpoint, from its configuration and what a tiny model of it does."""

from adapters.init.draft import Draft
from adapters.init.error import InitError
from adapters.init.make import make

__all__ = ["Draft", "InitError", "make"]
