"""What transformers' model of a configuration is made of: text model, towers, and the modules between them.

Two models are looked at. One of the checkpoint's own sizes, on the meta device: its modules, constants and names. One
of a tiny size with seeded weights, in memory: it can be run, so that what cannot be read off is measured.
"""

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import nn

from adapters.init.error import InitError
from adapters.parity.oracle import perturb
from adapters.parity.tiny import shrink
from components.hf_config import to_hf_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

SEED = 0
TEXT = "text_config"
DECODER = "language_model"  # the decoder's node in drafts


@frozen(eq=False)
class Inspected:
    """Names of modules are those of the model in memory, and so the prefixes of its weights."""

    architecture: str
    plain: dict[str, Any]
    tiny: dict[str, Any]
    whole: "PreTrainedModel"
    """Of the checkpoint's sizes, on the meta device."""
    model: "PreTrainedModel"
    """Tiny, float32, eager attention, seeded weights."""
    text: str
    towers: dict[str, str]
    """Module name, and the key of its configuration."""
    between: tuple[str, ...]
    """Modules with weights that are neither: projectors."""

    @property
    def text_plain(self) -> dict[str, Any]:
        """Configuration of the text model."""
        found: dict[str, Any] = self.plain[TEXT]
        return found


def architecture_of(config: dict[str, Any]) -> str:
    """The model class that a plain configuration names, or that transformers has for it.

    Raises:
        InitError: there is none.
    """
    import transformers

    for name in config.get("architectures") or ():
        if hasattr(transformers, name):
            return str(name)
    mapping = transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    found = mapping.get(type(to_hf_config(config)), None)
    if found is None:
        raise InitError(
            f"transformers {transformers.__version__} has no vision-language model for model_type "
            f"{config.get('model_type')}: a spec stands for one of its classes (hf.architecture)"
        )
    return str(getattr(found, "__name__", found))


def inspect_model(config: dict[str, Any]) -> Inspected:
    """Build both models and sort their modules.

    Raises:
        InitError: no such class, no text model in it, or no tiny model of it.
    """
    import transformers

    architecture = architecture_of(config)
    if not isinstance(config.get(TEXT), dict):
        raise InitError(f"{architecture}: the configuration has no {TEXT}: there is no decoder to compose with a tower")
    if not config[TEXT].get("layer_types"):
        raise InitError(
            f"{architecture}: its {TEXT} ({config[TEXT].get('model_type')}) is no decoder with rotary positions "
            "(no layer_types, no rope_parameters): language.gpt has no other"
        )
    cls: Any = getattr(transformers, architecture)
    tiny = shrink(config)
    size = "model"
    try:
        with torch.device("meta"):
            whole = cls._from_config(to_hf_config(config), attn_implementation="eager")
        size = "tiny model"
        model = cls._from_config(to_hf_config(tiny), attn_implementation="eager", dtype=torch.float32)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise InitError(f"{architecture}: no {size} can be made of this configuration: {reason}") from error
    perturb(model, SEED)
    text = _text_model(model)
    towers = _towers(model, text)
    between = tuple(_between(model, text, tuple(towers)))
    return Inspected(architecture, config, tiny, whole, model.eval(), text, towers, between)


def _text_model(model: nn.Module) -> str:
    """The module below which the decoder's layers and its embedding table are."""
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    for name, module in model.named_modules():
        fits = type(getattr(module, "config", None)) is type(config) and name
        if fits and isinstance(getattr(module, "layers", None), nn.ModuleList) and hasattr(module, "embed_tokens"):
            return name
    raise InitError(
        f"{type(model).__name__} has no module with `layers` and `embed_tokens` for its {TEXT}: "
        "language.gpt is laid over such a one"
    )


def _towers(model: nn.Module, text: str) -> dict[str, str]:
    """Outermost modules that AutoModel would make of one of the other sub-configurations."""
    from transformers import MODEL_MAPPING, PreTrainedConfig, PreTrainedModel

    root: Any = model.config
    parts = {key: value for key, value in vars(root).items() if isinstance(value, PreTrainedConfig) and key != TEXT}
    found: dict[str, str] = {}
    for name, module in model.named_modules():
        if not isinstance(module, PreTrainedModel) or not name or _is_below(name, (text, *found)):
            continue
        for key, config in parts.items():
            if type(module.config) is type(config) and isinstance(module, _classes(MODEL_MAPPING, config)):
                found[name] = key
    return found


def _classes(mapping: Any, config: "PreTrainedConfig") -> tuple[type, ...]:
    known = mapping.get(type(config), None)
    return () if known is None else known if isinstance(known, tuple) else (known,)


def _between(model: nn.Module, text: str, towers: tuple[str, ...]) -> Iterator[str]:
    """Outermost modules with weights beside towers, text model and output layer."""
    parent = text.rpartition(".")[0]
    above = model.get_submodule(parent) if parent else model
    for name, child in above.named_children():
        full = f"{parent}.{name}".lstrip(".")
        holds_one = any(other == full or other.startswith(f"{full}.") for other in (text, *towers))
        if not holds_one and name != "lm_head" and any(True for _ in child.parameters()):
            yield full


def _is_below(name: str, owners: tuple[str, ...]) -> bool:
    return any(name == owner or name.startswith(f"{owner}.") for owner in owners)


def parameters_of(module: Any) -> list[str]:
    """Names of a module's arguments."""
    return [name for name in inspect.signature(module.forward).parameters if name not in ("self", "kwargs", "args")]
