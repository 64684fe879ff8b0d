"""Which model a plan is of: a hash of everything that decides its parameters and what they compute."""

import hashlib

from attrs import evolve

from composer.dump import dump
from composer.graph import Graph


def content_hash(graph: Graph) -> str:
    """16 hexadecimal digits; the description and the stages of training do not count."""
    return hashlib.sha256(dump(evolve(graph, description="", stages={})).encode()).hexdigest()[:16]
