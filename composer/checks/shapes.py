"""Dimensions agree along edges."""

from collections.abc import Iterator

from composer.checks.types import joins
from composer.checks.wiring import Joint, Wiring
from composer.dimensions import Clash, Dimensions, Key, Size
from composer.edges import DataEdge, Ref, ShareEdge
from composer.finding import Finding
from composer.registry import Port

FEATURES = "features"


def shape_findings(wiring: Wiring) -> Iterator[Finding]:
    """Different numbers of dimensions, or different sizes of one dimension, with both places."""
    dimensions = Dimensions()
    together = _together(wiring)
    for joint in wiring.joints:
        if not (joint.source and joint.target and joins(type(joint.edge), joint.source.type, joint.target.type)):
            continue
        source, target = joint.source.shape, joint.target.shape
        if isinstance(joint.edge, DataEdge | ShareEdge) and len(source) != len(target):
            message = (
                f"{joint.edge.target} has {len(target)} dimensions {_shown(target)}, "
                f"but {joint.edge.source} has {len(source)} {_shown(source)}."
            )
            yield Finding(f"{joint.path}.to", message)
            continue
        for left, right in joint.edge.aligned(len(source), len(target)):
            if right == len(target) - 1 and str(joint.edge.target) in together:
                continue  # their widths add up
            start = _dimension(wiring, joint.edge.source, joint.source, left)
            end = _dimension(wiring, joint.edge.target, joint.target, right)
            factor = joint.edge.factor(left, len(source))
            if factor > 1:
                before = dimensions.size(start)
                if before is None:
                    continue
                start = Size(before.number * factor, before.path)
            if clash := dimensions.unify(start, end):
                yield _finding(joint, clash, left)
    for joints in together.values():
        yield from _beside(wiring, joints, dimensions)


def _together(wiring: Wiring) -> dict[str, list[Joint]]:
    """Data edges whose rows stand side by side, by the input they end at."""
    ends = {str(joint.edge.target) for joint in wiring.joints if getattr(joint.edge, "beside", False)}
    return {end: [joint for joint in wiring.joints if str(joint.edge.target) == end] for end in ends}


def _beside(wiring: Wiring, joints: list[Joint], dimensions: Dimensions) -> Iterator[Finding]:
    """Widths of rows that stand side by side add up to that of the input."""
    target = joints[0].target
    if target is None or not target.shape:
        return
    total = 0
    for joint in joints:
        if joint.source is None or joint.source.type != FEATURES:
            if joint.source is not None:
                yield Finding(f"{joint.path}.beside", f"{joint.edge.source} holds no feature rows, which alone can be.")
            return
        last = len(joint.source.shape) - 1
        size = dimensions.size(_dimension(wiring, joint.edge.source, joint.source, last))
        if size is None:
            return
        total += size.number * joint.edge.factor(last, last + 1)
    end = _dimension(wiring, joints[0].edge.target, target, len(target.shape) - 1)
    if clash := dimensions.unify(Size(total, joints[-1].path), end):
        sources = ", ".join(str(joint.edge.source) for joint in joints)
        message = f"{clash.right.number} does not fit {sources} side by side, {total} ({{0}})."
        yield Finding(clash.right.path, message, (joints[-1].path,))


def _dimension(wiring: Wiring, ref: Ref, port: Port, index: int) -> Key | Size:
    size = port.shape[index]
    of_input = ref.port is None and ref.owner in wiring.graph.inputs
    if isinstance(size, str):
        return ("" if of_input else ref.owner, size)
    path = f"inputs.{ref.owner}" if of_input else f"nodes.{ref.owner}"
    origin = port.origin[index] if index < len(port.origin) else ""
    return Size(size, f"{path}.{origin}" if origin else path)


def _finding(joint: Joint, clash: Clash, index: int) -> Finding:
    assert joint.source
    shape = list(joint.source.shape)
    shape[index] = clash.left.number
    packed = ", packed," if joint.edge.factor(index, len(shape)) > 1 else ""
    fit = f"does not fit {joint.edge.source}{packed} {_shown(shape)} ({{0}})."
    field = clash.right.path.rpartition(".")[2]
    if clash.right.path.count(".") < 2:  # the node as a whole
        assert joint.target
        message = f"{joint.edge.target} {_shown(joint.target.shape)}: {clash.right.number} {fit}"
    elif field.isidentifier():
        message = f"{clash.right.number} {fit} Set {field}: {clash.left.number}."
    else:
        message = f"{clash.right.number} {fit}"
    return Finding(clash.right.path, message, (clash.left.path,))


def _shown(shape: tuple[str | int, ...] | list[str | int]) -> str:
    return f"[{', '.join(map(str, shape))}]"
