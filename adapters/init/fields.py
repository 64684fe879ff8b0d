"""Fields of a configuration as references of a spec, and which of them a draft has read."""

from typing import Any, Literal, Union, get_args, get_origin

from attrs import define, field

from adapters.init.draft import Said
from composer.schema import fields_by_key

# Fields that change nothing of what a decoder computes, or that show in the names of its weights, which are read.
WITHOUT_EFFECT = frozenset(
    [
        "architectures",
        "attention_bias",
        "attention_dropout",
        "bos_token_id",
        "chunk_size_feed_forward",
        "decoder_sparse_step",
        "dropout",
        "embd_pdrop",
        "eos_token_id",
        "hidden_dropout",
        "id2label",
        "initializer_range",
        "is_encoder_decoder",
        "kinds",
        "label2id",
        "layer_types",
        "max_window_layers",
        "mlp_bias",
        "mlp_layer_types",
        "mlp_only_layers",
        "model_type",
        "num_attention_heads",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "pad_token_id",
        "pretraining_tp",
        "problem_type",
        "resid_pdrop",
        "return_dict",
        "rope_parameters",
        "router_aux_loss_coef",
        "router_jitter_noise",
        "tie_word_embeddings",
        "tokenizer_class",
        "use_cache",
        "use_qk_norm",
        "use_sliding_window",
    ]
)
NEUTRAL = (None, False, 0, 0.0, 1.0, "", [], {})


@define
class Fields:
    """One level of a plain configuration, at a path below `hf`; remembers what was asked for."""

    path: str
    config: dict[str, Any]
    read: set[str] = field(factory=set)

    def reference(self, *names: str) -> Said | None:
        """The first of the names that the configuration has a value for, as a reference."""
        for name in names:
            if self.config.get(name) is not None:
                self.read.add(name)
                return Said(f"${{{self.path}.{name}}}", "")
        return None

    def sized(self, size: int, tiny: dict[str, Any], *preferred: str) -> Said | None:
        """The field whose value in the tiny configuration is a size that was seen; preferred names first."""
        for name in (*preferred, *tiny):
            if name in self.config and not isinstance(tiny.get(name), bool) and tiny.get(name) == size:
                return self.reference(name)
        return None

    def unread(self) -> dict[str, Any]:
        """Fields that might matter and that nothing has asked for."""
        return {
            name: value
            for name, value in self.config.items()
            if name not in self.read | WITHOUT_EFFECT and value not in NEUTRAL and not isinstance(value, dict)
        }


def choices(cls: type, key: str) -> tuple[Any, ...]:
    """The words that a key may hold; empty if it may hold others, or if there is no such key."""
    known = fields_by_key(cls).get(key)
    if known is None:
        return ()
    members = get_args(known.type) if get_origin(known.type) is Union else (known.type,)
    return tuple(word for member in members if get_origin(member) is Literal for word in get_args(member))


def has(cls: type, key: str) -> bool:
    """Whether a section has a key."""
    return key in fields_by_key(cls)
