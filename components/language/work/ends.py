"""Work and messages before the first layer and after the last, and of what every pipeline stage makes for itself."""

from collections.abc import Iterator

from components.language.gpt_declaration import Gpt
from components.language.rotation_columns import num_rotation_columns
from components.language.work.layer import tensor_parallel
from components.language.work.operations import linear, norm
from components.language.work.sizes import Tokens
from composer.plans.costs import Message, Setting, Work


def work_of_embedding(section: Gpt, setting: Setting) -> tuple[Work, ...]:
    """Looking up and scaling, placeholders and features in their places; the table's gradient is made whole."""
    sizes, e = section.config, setting.element
    elements = Tokens.of(setting).whole * sizes.hidden_size
    lookup = 2 * e * elements
    table = 2 * e * sizes.vocab_size / setting.layout.tp * sizes.hidden_size
    return (
        Work("embeddings", "elementwise", 0, lookup, 8, backward=0.0, weight_backward=1 + table / lookup),
        Work("embeddings", "elementwise", 0, 2 * e * elements, 1),
        Work("placement", "elementwise", 0, 5 * e * elements, 20),
    )


def messages_of_embedding(section: Gpt, setting: Setting) -> tuple[Message, ...]:
    """Parts of the vocabulary, summed."""
    bytes_ = Tokens.of(setting).whole * section.config.hidden_size * setting.element
    return (Message("embeddings", "all_reduce", "tp", bytes_, backward=0),) if setting.layout.tp > 1 else ()


def work_of_stage(section: Gpt, setting: Setting) -> tuple[Work, ...]:
    """Mask metadata and rotations; masks themselves count with the attention that reads them."""
    columns = num_rotation_columns(section)
    tokens = setting.micro_batch * setting.seq
    bytes_ = tokens * (columns * (4 * 6 + 2 * setting.element) + 4 * 30)
    return (Work("masks", "elementwise", 0, bytes_, 45, backward=0.0),)


def work_of_head(section: Gpt, setting: Setting) -> tuple[Work, ...]:
    """Final norm, logits, softcap and loss over this rank's part of the vocabulary."""
    return tuple(_head(section, setting))


def _head(section: Gpt, setting: Setting) -> Iterator[Work]:
    sizes, tokens, e = section.config, Tokens.of(setting), setting.element
    columns = sizes.vocab_size / setting.layout.tp
    yield norm("norms", tokens.split * sizes.hidden_size, setting)
    yield linear("head", tokens.whole, sizes.hidden_size, columns, setting)
    logits = tokens.whole * columns
    if sizes.logit_softcap is not None:
        yield Work("logits", "elementwise", 0, 6 * e * logits, 3, backward=1.2)
    # To float32, largest, difference, exponential, sum, quotient, all but the first in place; backward a product in
    # place, and the cast.
    casts = e + 4 if e < 4 else 0
    yield Work("logits", "elementwise", 0, (32 + casts) * logits, 24, backward=(8 + casts) / (32 + casts))


def messages_of_head(section: Gpt, setting: Setting) -> tuple[Message, ...]:
    """Hidden states gathered (or their gradient summed), and three numbers of each token over the vocabulary."""
    return tuple(_head_messages(section, setting))


def _head_messages(section: Gpt, setting: Setting) -> Iterator[Message]:
    if setting.layout.tp == 1:
        return
    tokens = Tokens.of(setting).whole
    yield next(tensor_parallel("head", tokens * section.config.hidden_size * setting.element, setting))
    for _ in range(3):
        yield Message("logits", "all_reduce", "tp", 4 * tokens, backward=0)
