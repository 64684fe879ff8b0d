"""Pictures of a graph, for `show`."""

from composer.views.graph_json import to_json
from composer.views.mermaid import to_mermaid
from composer.views.svg import to_svg
from composer.views.terminal import to_terminal

__all__ = ["to_json", "to_mermaid", "to_svg", "to_terminal"]
