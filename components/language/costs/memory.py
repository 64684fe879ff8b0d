"""Bytes kept and bytes alive for a moment: of a layer, of what every stage makes, of embedding and head."""

from components.language.costs.head import of_embedding, of_head, of_stage
from components.language.costs.layer import of_layer

__all__ = ["of_embedding", "of_head", "of_layer", "of_stage"]
