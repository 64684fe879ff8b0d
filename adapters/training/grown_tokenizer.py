"""A tokenizer with the tokens that a spec adds to a vocabulary."""

from tokenizers import AddedToken, Tokenizer

from adapters.training.problems import TrainingError
from composer import Graph


def grow_tokenizer(tokenizer: Tokenizer, graph: Graph) -> None:
    """Add what the tokenizer lacks of the spec's new tokens, `<name>` for each, in place.

    An id is the place in the list of tokens. A text model's table often has more rows than its tokenizer has tokens:
    spare tokens fill the gap, so that a new token gets the id that the spec gives it.

    Raises:
        TrainingError: the text of a new token is another token already.
    """
    compose = graph.hf.compose if graph.hf is not None else None
    new = {graph.hf_config.get(name) for name in compose.new_tokens} if compose is not None else set()
    wanted = {token: f"<{name}>" for name, token in graph.tokens.items() if token in new}
    for token, text in sorted(wanted.items()):
        if tokenizer.id_to_token(token) is not None:
            continue
        if (taken := tokenizer.token_to_id(text)) is not None:
            raise TrainingError(f"tokenizer: {text} is token {taken}; the spec adds it as {token}: rename it there.")
        first = tokenizer.get_vocab_size(with_added_tokens=True)
        spare = [f"<spare_{number}>" for number in range(first, token)]
        tokenizer.add_special_tokens([AddedToken(each, special=True, normalized=False) for each in (*spare, text)])
