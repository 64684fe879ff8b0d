"""Boxes and arrows of a graph as text, from top to bottom."""

from typing import Self

from attrs import define, field

from composer.views.canvas import Canvas
from composer.views.layered import Link, Slot, arrange
from composer.views.outline import Arrow, Box, Outline, shape_text

_BETWEEN = 3  # columns between boxes
_DIM = "bright_black"
EDGE_STYLES = {
    "data": "white",
    "embed": "bright_blue",
    "scatter": "dark_orange",
    "inject": "orange4",
    "mask": "magenta",
    "position": "cyan",
    "share": "red",
}
ROLE_STYLES = {"input": "white", "tower": "bright_blue", "projector": "yellow", "decoder": "green"}


@define(eq=False)
class Block:
    """A box on the sheet; `entries` holds the column of each arrow that arrives, counted from the left edge."""

    box: Box
    lines: list[list[tuple[int, str, str]]]  # column, words, style
    width: int
    entries: dict[int, int]
    slot: Slot

    @classmethod
    def of(cls, box: Box, arriving: list[tuple[int, Arrow]]) -> Self:
        """Lay out ports from left to right, each as wide as its name, its shape and the labels that arrive there."""
        names: list[tuple[int, str, str]] = []
        shapes: list[tuple[int, str, str]] = []
        entries: dict[int, int] = {}
        column = 2
        for port in box.inputs:
            names.append((column, port.name, ""))
            shapes.append((column, shape_text(port.shape), _DIM))
            start = column
            for number, arrow in arriving:
                if arrow.target_port == port.name:
                    entries[number] = column
                    column += len(arrow.label) + 4
            column = max(column, start + max(len(port.name), len(shape_text(port.shape))) + 3)
        lines = [names, shapes] if names else []
        lines.append([(2, box.name, f"bold {ROLE_STYLES.get(box.role, 'white')}"), (3 + len(box.name), box.kind, _DIM)])
        if box.role != "input":
            lines += [[(2, f"{port.name} {shape_text(port.shape)}", _DIM)] for port in box.outputs]
        else:
            lines.append([(2, shape_text(box.outputs[0].shape), _DIM)])
        lines += [[(2, shared.replace("=", "≡"), EDGE_STYLES["share"])] for shared in box.shared]
        width = max([column, *(start + len(words) + 2 for line in lines for start, words, _ in line)])
        return cls(box, lines, width, entries, Slot(width))

    @property
    def height(self) -> int:
        """Lines and two borders."""
        return len(self.lines) + 2

    @property
    def left(self) -> int:
        """The column of the left edge."""
        return int(self.slot.position)

    def draw(self, canvas: Canvas, top: int) -> None:
        """Border, then lines."""
        style = ROLE_STYLES.get(self.box.role, "white") + ("" if self.box.role != "input" else " dim")
        inner = "─" * (self.width - 2)
        canvas.write(top, self.left, f"╭{inner}╮", style)
        for row, line in enumerate(self.lines, top + 1):
            canvas.write(row, self.left, "│" + " " * (self.width - 2) + "│", style)
            for column, words, words_style in line:
                canvas.write(row, self.left + column, words, words_style)
        canvas.write(top + self.height - 1, self.left, f"╰{inner}╯", style)


@define(eq=False)
class _Step:
    """One arrow between two neighbouring layers, with the columns where it leaves and arrives.

    `track` is the row, below the upper layer, in which it goes sideways.
    """

    arrow: Arrow
    link: Link
    leaves: int = 0
    arrives: int = 0
    track: int = 0


@define
class TextDiagram:
    """Boxes in layers on a sheet of characters."""

    blocks: dict[Slot, Block]
    layers: list[list[Slot]]
    steps: list[list[_Step]]  # by the layer they leave
    canvas: Canvas = field(factory=Canvas)

    @classmethod
    def of(cls, outline: Outline, max_width: int) -> Self:
        """Arrange and draw; in at most that many columns if the boxes of every layer fit."""
        diagram = cls(*_slots(outline))
        arrange(diagram.layers, [step.link for steps in diagram.steps for step in steps], _BETWEEN)
        for slots in diagram.layers:
            _round(slots, max_width)
        diagram._draw()
        return diagram

    @property
    def width(self) -> int:
        """Columns in use."""
        return max((int(slot.position + slot.size) for slots in self.layers for slot in slots), default=0)

    def _draw(self) -> None:
        tops, top = [], 0
        for slots, steps in zip(self.layers, self.steps, strict=True):
            tops.append(top)
            tracks = _assign_tracks(steps, self.blocks)
            top += self._height(slots) + (tracks + 2 if steps else 0)
        bottoms = [top + self._height(slots) for top, slots in zip(tops, self.layers, strict=True)]
        for bottom, slots in zip(bottoms, self.layers, strict=True):
            for slot in slots:
                if slot in self.blocks:
                    # Boxes stand on the line that their arrows leave from.
                    self.blocks[slot].draw(self.canvas, bottom - self.blocks[slot].height)
        for layer, steps in enumerate(self.steps):
            for step in steps:
                self._draw_step(step, bottoms[layer], bottoms[layer + 1])

    def _height(self, slots: list[Slot]) -> int:
        return max((self.blocks[slot].height for slot in slots if slot in self.blocks), default=1)

    def _draw_step(self, step: _Step, start: int, end: int) -> None:
        """From the lower edge of one layer to a box that stands on `end`, or past it in a lane."""
        style = EDGE_STYLES.get(step.arrow.kind, "")
        goal = self.blocks.get(step.link.end)
        head = end if goal is None else end - goal.height
        row = start + step.track
        self.canvas.vertical(step.leaves, start - 1, row, style)
        self.canvas.horizontal(row, step.leaves, step.arrives, style)
        self.canvas.vertical(step.arrives, row, head, style)
        if step.link.start in self.blocks:
            self.canvas.write(start - 1, step.leaves, "┬", style)
        if goal is not None:
            self.canvas.write(head - 1, step.arrives + 2, step.arrow.label, style)
            self.canvas.write(head, step.arrives, "▼", style)


def _slots(outline: Outline) -> tuple[dict[Slot, Block], list[list[Slot]], list[list[_Step]]]:
    arrows = list(enumerate(outline.arrows))
    from_nodes_first = sorted(arrows, key=lambda pair: outline.boxes[pair[1].source].role == "input")
    blocks = {
        name: Block.of(box, [(number, arrow) for number, arrow in from_nodes_first if arrow.target == name])
        for name, box in outline.boxes.items()
    }
    layer_of = {name: number for number, names in enumerate(outline.layers) for name in names}
    layers = [[blocks[name].slot for name in names] for names in outline.layers]
    steps: list[list[_Step]] = [[] for _ in layers]
    for number, arrow in arrows:
        block, goal = blocks[arrow.source], blocks[arrow.target]
        here, offset = block.slot, block.width / 2
        for layer in range(layer_of[arrow.source] + 1, layer_of[arrow.target]):
            lane = Slot(1)
            layers[layer].append(lane)
            steps[layer - 1].append(_Step(arrow, Link(here, offset, lane, 0)))
            here, offset = lane, 0
        steps[layer_of[arrow.target] - 1].append(_Step(arrow, Link(here, offset, goal.slot, goal.entries[number])))
    return {block.slot: block for block in blocks.values()}, layers, steps


def _round(slots: list[Slot], max_width: int) -> None:
    """Whole columns; a layer that sticks out on the right is pushed together from there."""
    end = max_width
    for slot in reversed(slots):
        slot.position = max(0, min(round(slot.position), end - int(slot.size)))
        end = int(slot.position) - _BETWEEN
    free = 0
    for slot in slots:
        slot.position = max(int(slot.position), free)
        free = int(slot.position + slot.size) + _BETWEEN


def _assign_tracks(steps: list[_Step], blocks: dict[Slot, Block]) -> int:
    """Columns and rows of the arrows of one gap, such that none lie on each other; how many rows that takes."""
    for step in steps:
        step.arrives = int(step.link.end.position + step.link.end_offset)
    for slot in dict.fromkeys(step.link.start for step in steps):
        _leave(
            sorted((step for step in steps if step.link.start is slot), key=lambda step: step.arrives), blocks.get(slot)
        )
    rows: list[list[tuple[int, int]]] = []
    # Of arrows that go the same way, the one in front turns first: so they do not cross.
    right = sorted((step for step in steps if step.arrives > step.leaves), key=lambda step: -step.leaves)
    left = sorted((step for step in steps if step.arrives < step.leaves), key=lambda step: step.leaves)
    for group in (right, left):
        for number, step in enumerate(group):
            first, last = sorted((step.leaves, step.arrives))
            above = [other.track + 1 for other in group[:number] if _passes(step, other)]
            step.track = max(above, default=0)
            while step.track < len(rows) and any(a <= last + 1 and first <= b + 1 for a, b in rows[step.track]):
                step.track += 1
            rows += [[] for _ in range(step.track + 1 - len(rows))]
            rows[step.track].append((first, last))
    return len(rows)


def _passes(step: _Step, other: _Step) -> bool:
    """Whether a step comes down where another goes sideways."""
    return min(other.leaves, other.arrives) - 1 <= step.arrives <= max(other.leaves, other.arrives) + 1


def _leave(steps: list[_Step], block: Block | None) -> None:
    """Each arrow leaves right above where it arrives, as far as the box is wide and the others leave room."""
    if block is None:
        for step in steps:
            step.leaves = int(step.link.start.position)
        return
    first, last = block.left + 2, block.left + block.width - 3
    apart = max(1, min(4, (last - first) // max(len(steps) - 1, 1)))
    for number, step in enumerate(steps):
        room = last - apart * (len(steps) - 1 - number)
        step.leaves = max(first, min(step.arrives, room))
        first = step.leaves + apart
