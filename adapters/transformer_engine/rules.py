"""Which mask rules Transformer Engine's kernels can honour, and as what."""

from collections.abc import Iterator

from attrs import frozen

from composer.masks import And, Causal, Rule, SameDocument, Window


class NoKernel(ValueError):
    """A rule that Transformer Engine has no kernel for; says which part of it."""


@frozen
class KernelMask:
    """A causal mask, perhaps with a window, as Transformer Engine's kernels know it."""

    window: tuple[int, int] | None
    """Keys to the left and right of the query that it sees, beside itself; None: all to the left."""


def kernel_mask(rule: Rule) -> KernelMask:
    """Lower a rule that is `causal`, joined by `&` with any number of windows.

    `same_document` changes nothing here: documents are told apart whatever the rule says.

    Raises:
        NoKernel: the rule says something else. Transformer Engine takes other masks only as an S×S table, in its
            unfused form, which has nothing over the dense attention of this project.
    """
    sizes, causal = [], False
    for part in _conjuncts(rule):
        match part:
            case Causal():
                causal = True
            case Window(size=size):
                sizes.append(size)
            case SameDocument():
                pass
            case _:
                raise NoKernel(f"no kernel for {part}")
    if not causal:
        raise NoKernel(f"no kernel for {rule}: it is not causal")
    return KernelMask((min(sizes) - 1, 0) if sizes else None)


def _conjuncts(rule: Rule) -> Iterator[Rule]:
    if isinstance(rule, And):
        yield from _conjuncts(rule.left)
        yield from _conjuncts(rule.right)
    else:
        yield rule
