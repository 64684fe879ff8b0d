"""The decoder's section: sizes from fields of the configuration, parts from names of weights, constants of modules."""

from typing import Any

from torch import Tensor

from adapters.huggingface.fitting_parts import Fitted, fit
from adapters.init.draft import Notes, Said
from adapters.init.fields import Fields, choices, has
from adapters.init.inspection import TEXT, Inspected
from adapters.init.norms import norm_weight
from components.language.attention_declaration import Attention
from components.language.feed_forward_declaration import FeedForward, Router
from components.language.gpt_declaration import DecoderConfig, Layer
from components.language.rope_declaration import Rope, Scaling

SIZES = {
    "num_layers": ("num_hidden_layers",),
    "hidden_size": ("hidden_size",),
    "vocab_size": ("vocab_size",),
    "max_positions": ("max_position_embeddings",),
    "norm_eps": ("rms_norm_eps", "norm_eps", "layer_norm_eps", "layer_norm_epsilon"),
    "activation": ("hidden_act", "hidden_activation", "activation_function"),
    "logit_softcap": ("final_logit_softcapping",),
    "init_std": ("initializer_range",),
}
SOFTCAPS = ("attn_logit_softcapping",)
ROPE_NAMES = {"rope_theta": "theta", "rope_type": "type", "partial_rotary_factor": "partial"}
SCALING_NAMES = {"original_max_position_embeddings": "original_max_positions"}
CAPS = ("softcap", "score_softcap", "logit_softcap")  # the first that attention has is meant
LONG_RANGE = 4096  # where a configuration names no longest sequence


def decoder_node(inspected: Inspected, fields: Fields, notes: Notes) -> dict[str, Any]:
    """The node of the decoder, as it stands in a spec."""
    order = fields.config.get("layer_types") or []
    kinds = {kind: _layer(inspected, fields, kind, order.index(kind), notes) for kind in dict.fromkeys(order)}
    fields.read.update(("layer_types", "num_hidden_layers"))
    return {
        "component": "language.gpt",
        "weights": Said(inspected.text, f"module of {type(inspected.model.get_submodule(inspected.text)).__name__}"),
        "config": _sizes(inspected, fields, notes),
        "layers": {"order": f"${{{fields.path}.layer_types}}", "kinds": kinds},
    }


def _sizes(inspected: Inspected, fields: Fields, notes: Notes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, names in SIZES.items():
        if (said := fields.reference(*names)) is not None:
            found[key] = said
    if "max_positions" not in found:
        found["max_positions"] = Said(LONG_RANGE, "no field says it: assumed")
    activation = fields.reference(*SIZES["activation"])
    value = next((fields.config[name] for name in SIZES["activation"] if fields.config.get(name)), None)
    if activation is None or value not in choices(DecoderConfig, "activation"):
        found["activation"] = Said("silu", "assumed")
        known = ", ".join(choices(DecoderConfig, "activation"))
        notes.add("nodes.language_model.config.activation", f"{TEXT} says {value!r}; the decoder has {known}")
    return found | norm_weight(inspected, notes)


def _layer(inspected: Inspected, fields: Fields, kind: str, index: int, notes: Notes) -> dict[str, Any]:
    path = f"{inspected.text}.layers.{index}."
    names = {name.removeprefix(path) for name in inspected.model.state_dict() if name.startswith(path)}
    fitted = fit(names)
    where = f"nodes.language_model.layers.kinds.{kind}"
    for name in fitted.left:
        notes.add(where, f"layers have {name}, which no part of the decoder takes")
    for name in fitted.missing:
        notes.add(where, f"layers have no {name}, which the nearest parts ask for")
    section: dict[str, Any] = {
        "norms": _part(fitted, "norms") or "pre",
        "attention": _attention(inspected, fields, kind, index, fitted, notes),
        "rope": _rope(fields, kind, where, notes),
        "ffn": _feed_forward(inspected, fields, path, fitted, where, notes),
    }
    for path_, value in fitted.settings.items():
        if "." not in path_ and path_ not in section and has(Layer, path_):
            section[path_] = Said(value, f"layers have {fitted.because[path_]}")
    return section


def _part(fitted: Fitted, path: str) -> Said | None:
    value = fitted.settings.get(path)
    return None if value is None else Said(value, f"layers have {fitted.because[path]}")


def _attention(
    inspected: Inspected, fields: Fields, kind: str, index: int, fitted: Fitted, notes: Notes
) -> dict[str, Any]:
    prefix = f"${{{fields.path}.kinds.{kind}"
    fields.read.update(("num_attention_heads", "num_key_value_heads", "head_dim"))
    section: dict[str, Any] = {
        "heads": f"${{{fields.path}.num_attention_heads}}",
        "kv_heads": f"{prefix}.num_key_value_heads}}",
        "head_dim": f"{prefix}.head_dim}}",
    }
    module: Any = inspected.whole.get_submodule(f"{inspected.text}.layers.{index}.self_attn")
    scale, width = getattr(module, "scaling", None), fields.config["kinds"][kind].get("head_dim")
    by = fields.config.get("query_pre_attn_scalar")
    if by and isinstance(scale, float) and abs(scale * by**0.5 - 1) < 1e-6:
        section["scale_dim"] = fields.reference("query_pre_attn_scalar")
    elif isinstance(scale, float) and width and abs(scale * width**0.5 - 1) > 1e-6:
        section["scale"] = Said(scale, "self_attn.scaling")
        fields.read.add("attention_multiplier")
    section |= _settings("attention", Attention, fitted)
    for name in SOFTCAPS:
        if fields.config.get(name) is not None and (key := next(filter(lambda key: has(Attention, key), CAPS), None)):
            section[key] = fields.reference(name)
    return section


def _settings(part: str, cls: type, fitted: Fitted) -> dict[str, Any]:
    """What the weights' names say of a part, as it stands in a spec."""
    found: dict[str, Any] = {}
    for path, value in fitted.settings.items():
        if not path.startswith(f"{part}."):
            continue
        first, *rest = path.removeprefix(f"{part}.").split(".")
        if has(cls, first):
            said = Said(value, f"layers have {fitted.because[path]}")
            found[first] = {rest[0]: said} if rest else said
    return found


def _rope(fields: Fields, kind: str, where: str, notes: Notes) -> dict[str, Any]:
    rope = dict(fields.config["kinds"][kind].get("rope") or {})
    if not rope:
        notes.add(f"{where}.rope", "the configuration has no rope_parameters for these layers: theta 10000 is assumed")
        return {"theta": Said(10000.0, "assumed")}
    section: dict[str, Any] = {}
    scaling: dict[str, Any] = {}
    for name, value in rope.items():
        key, within = str(ROPE_NAMES.get(name, name)), str(SCALING_NAMES.get(name, name))
        if has(Scaling, within):
            if value is not None:
                scaling[within] = f"${{{fields.path}.kinds.{kind}.rope.{name}}}"
        elif not has(Rope, key):
            if value not in (None, 1, 1.0, False):
                notes.add(f"{where}.rope", f"rope_parameters has {name}: {value}, which no key of rope says")
        elif choices(Rope, key) and value not in choices(Rope, key):
            known = ", ".join(choices(Rope, key))
            notes.add(f"{where}.rope.{key}", f"rope_parameters says {value!r}; the decoder has {known}")
        else:
            section[key] = f"${{{fields.path}.kinds.{kind}.rope.{name}}}"
    section |= {"scaling": scaling} if scaling else {}
    return {"theta": Said(10000.0, "assumed")} | section


def _feed_forward(
    inspected: Inspected, fields: Fields, path: str, fitted: Fitted, where: str, notes: Notes
) -> dict[str, Any]:
    tiny, tensors = inspected.tiny[TEXT], inspected.model.state_dict()
    section: dict[str, Any] = {}
    if "ffn.dense" in fitted.settings:
        width = _size(tensors, f"{path}mlp.down_proj.weight", -1)
        section["dense"] = {"intermediate_size": fields.sized(width, tiny, "intermediate_size") or width}
    if "ffn.experts" in fitted.settings:
        stack = next(
            (tensors[name] for name in tensors if name.startswith(path) and name.endswith("experts.down_proj")), None
        )
        count, width = (stack.shape[0], stack.shape[-1]) if isinstance(stack, Tensor) else (0, 0)
        section["experts"] = {
            "num_experts": fields.sized(count, tiny, "num_local_experts", "num_experts", "n_routed_experts"),
            "top_k": fields.reference("num_experts_per_tok", "top_k_experts", "moe_topk"),
            "intermediate_size": fields.sized(width, tiny, "moe_intermediate_size", "expert_intermediate_size"),
            "router": _router(fields, fitted, where, notes),
        }
    others = {key: value for key, value in _settings("ffn", FeedForward, fitted).items() if key not in section}
    if not section:
        notes.add(f"{where}.ffn", "neither a gated feed-forward network nor experts are seen in the layers' weights")
        section["dense"] = {"intermediate_size": fields.reference("intermediate_size") or 4}
    return section | others


def _router(fields: Fields, fitted: Fitted, where: str, notes: Notes) -> dict[str, Any]:
    section: dict[str, Any] = {
        path.rpartition(".")[2]: Said(value, f"layers have {fitted.because[path]}")
        for path, value in fitted.settings.items()
        if path.startswith("ffn.experts.router.") and has(Router, path.rpartition(".")[2])
    }
    if (said := fields.reference("norm_topk_prob")) is not None:
        section["renormalise"] = said
    else:
        section["renormalise"] = Said(True, "assumed")
    others = sorted(key for key in ("input", "input_norm", "input_factor") if has(Router, key))
    notes.add(
        f"{where}.ffn.experts.router",
        f"how experts are chosen cannot be read off weights: check renormalise, {', '.join(others)} against the "
        "model's router; parity names the router if they are wrong",
    )
    return section


def _size(tensors: Any, name: str, dimension: int) -> int:
    tensor = tensors.get(name)
    return int(tensor.shape[dimension]) if isinstance(tensor, Tensor) else 0
