"""The nearest composition for a model that no shipped spec stands for: every decision with its source."""

from typing import Any

from adapters.init.decoder import decoder_node
from adapters.init.draft import Notes, Said
from adapters.init.encoder import encoder
from adapters.init.fields import Fields
from adapters.init.files import stored
from adapters.init.inspection import DECODER, TEXT, Inspected
from adapters.init.placement import embedding_scale, mask_rule, placement_mode, positions
from adapters.init.probe import Placed, Probe, ProbeError, probe_decoder, probe_features
from adapters.parity.suspect_edges import PLACEHOLDER_KEYS


def compose(inspected: Inspected, name: str, file: str, notes: Notes) -> dict[str, Any]:
    """The document of a spec.

    Args:
        inspected: the model.
        name: of the spec.
        file: of its configuration, beside it.
        notes: gets what stays undecided.
    """
    root, text = Fields("hf", inspected.plain), Fields(f"hf.{TEXT}", inspected.text_plain)
    probe = _measured(inspected, notes)
    token = _token(root, notes)
    decoder = decoder_node(inspected, text, notes)
    if not inspected.towers:
        notes.add("nodes", "no module is made by AutoModel of one of the configuration's parts: there is no tower")
    nodes: dict[str, Any] = {}
    edges: list[Any] = []
    inputs: dict[str, Any] = {"input_ids": {"type": "tokens", "shape": ["batch", "seq"]}}
    for tower, key in list(inspected.towers.items())[:1]:
        nodes, edges, given = encoder(inspected, probe, tower, key, root, notes)
        inputs |= given
    edges = [_embed(), *edges]
    placed = _placed(inspected, probe, token, notes)
    edges += _decoder_edges(inspected, probe, placed, text, token, notes)
    if probe is not None and placed is not None:
        scale = embedding_scale(placed, _tiny_token(inspected, token), notes)
        edges[0] |= {"scale": scale} if scale else {}
    nodes[DECODER] = decoder
    for field, value in text.unread().items():
        notes.add(f"nodes.{DECODER}", f"{TEXT}.{field} is {value}: nothing in the spec reads it; does the model?")
    for tower in list(inspected.towers)[1:]:
        notes.add("nodes", f"the model has one more tower, {tower}: only the first is drafted")
    prefixes = [section["weights"].value for section in nodes.values()]
    saved = stored(inspected, prefixes, notes)
    _left_over(inspected, prefixes, notes)
    hf = {
        "architecture": inspected.architecture,
        "requires": f"transformers>={_version()}",
        "text": [inspected.text_plain["model_type"]],
        "default": file,
        **({"stored": Said(saved, "read off files that transformers saved of a tiny model")} if saved else {}),
    }
    return {
        "spec": 1,
        "name": name,
        "description": f"{inspected.architecture}, composed by vlm-composer init",
        "hf": hf,
        "tokens": {"image": Said(f"${{hf.{token}}}", "placeholder of a picture's rows")} if token else {"image": 0},
        "inputs": inputs,
        "nodes": nodes,
        "edges": edges,
        "stages": {"align": {"trains": ["projector"]}, "sft": {"trains": ["all - tower"]}},
    }


def _measured(inspected: Inspected, notes: Notes) -> Probe | None:
    try:
        return probe_features(inspected)
    except ProbeError as error:
        notes.add("edges, from tower to decoder", f"nothing could be measured: {error}")
        return None


def _placed(inspected: Inspected, probe: Probe | None, token: str | None, notes: Notes) -> Placed | None:
    if probe is None or token is None:
        return None
    try:
        return probe_decoder(inspected, probe, _tiny_token(inspected, token))
    except ProbeError as error:
        notes.add("edges, kinds embed, scatter, mask and position", f"nothing could be measured: {error}")
        return None


def _token(root: Fields, notes: Notes) -> str | None:
    for name in PLACEHOLDER_KEYS:
        if isinstance(root.config.get(name), int):
            return name
    notes.add(
        "tokens.image", f"the configuration has neither {' nor '.join(PLACEHOLDER_KEYS)}: write the placeholder's id"
    )
    return None


def _tiny_token(inspected: Inspected, token: str | None) -> int:
    return int(inspected.tiny[token]) if token else 0


def _embed() -> dict[str, Any]:
    return {"kind": "embed", "from": "input_ids", "to": f"{DECODER}.embeddings"}


def _decoder_edges(
    inspected: Inspected, probe: Probe | None, placed: Placed | None, text: Fields, token: str | None, notes: Notes
) -> list[Any]:
    kinds = list(dict.fromkeys(text.config.get("layer_types") or ["full_attention"]))
    rules: dict[str, Any] = {}
    sizes = {
        word: (inspected.tiny[TEXT][name], f"${{{text.path}.{name}}}")
        for word, name in (("window", "sliding_window"), ("chunk", "attention_chunk_size"))
        if inspected.tiny[TEXT].get(name)
    }
    text.read.update(("sliding_window", "attention_chunk_size"))
    for kind in kinds:
        if placed is None:
            rules[kind] = Said("causal", "assumed")
            notes.add(f"edges, kind mask, rules.{kind}", "nothing was measured: causal is assumed")
        else:
            rules[kind] = mask_rule(kind, placed, sizes, _tiny_token(inspected, token), notes)
    if placed is not None and probe is not None:
        placement_mode(placed, probe, _tiny_token(inspected, token), notes)
    position = positions(placed, notes) if placed is not None else {}
    ends = {"from": f"{DECODER}.embedding_weight", "to": f"{DECODER}.output_weight"}
    return [
        {"kind": "position", "from": "input_ids", "to": f"{DECODER}.rotary", **position},
        {"kind": "mask", "from": "input_ids", "to": f"{DECODER}.attention_mask", "rules": rules},
        *([{"kind": "share", **ends, "when": "hf.tie_word_embeddings"}] if _may_be_tied(inspected) else []),
    ]


def _may_be_tied(inspected: Inspected) -> bool:
    return "tie_word_embeddings" in inspected.plain


def _left_over(inspected: Inspected, prefixes: list[str], notes: Notes) -> None:
    """Weights that no node of the spec has."""
    strange = [
        name
        for name, _ in inspected.model.named_parameters()
        if not name.startswith(tuple(f"{prefix}." for prefix in (*prefixes, "lm_head")))
    ]
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        notes.add("nodes", f"the model has {strange[0]}{more}, which no node of the spec takes")


def _version() -> str:
    from importlib.metadata import version

    return ".".join(version("transformers").split(".")[:2])
