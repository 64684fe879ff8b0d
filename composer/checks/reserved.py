"""Names that a spec cannot give: the built model has them already.

Composer knows no torch, so they are listed here; a test compares the lists with a built model.
"""

from keyword import iskeyword

CALL_ARGUMENTS = frozenset(
    {"attention_mask", "position_ids", "inputs_embeds", "labels", "runtime_gather_output", "packed_seq_params"}
    | {"loss_mask"}
)
"""Arguments of the model's forward beside the spec's inputs; `input_ids` is both."""

_METHOD_ARGUMENTS = frozenset({"self", "args", "kwargs", "modality", "return_dict"})

_OF_COMPOSED_MODEL = """
arguments call_signature config decoder_node features forward freeze freeze_selected input_names model_type
own_positions pg_collection post_process pre_process program set_input_tensor set_is_first_microbatch set_symmetric_ar
share_embeddings_and_output_weights shared_embedding_or_output_weight sharded_state_dict
state_dict_for_save_checkpoint vp_stage
"""
_OF_TORCH_MODULE = """
T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval
extra_repr float get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules mtia
named_buffers named_children named_modules named_parameters parameters register_backward_hook register_buffer
register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory
smart_apply state_dict to to_empty train training type xpu zero_grad
"""

MODEL_ATTRIBUTES = frozenset(f"{_OF_COMPOSED_MODEL} {_OF_TORCH_MODULE}".split())
"""Public attributes of the built model, whose nodes are attributes too."""


def input_clash(name: str, tokens: dict[str, int]) -> str | None:
    """Why an input cannot be called this; None if it can."""
    if iskeyword(name):
        return f"{name} is a word of Python, and inputs are arguments of the model's forward."
    counted = {f"{token}s_per_sample" for token in tokens} if name.endswith("s_per_sample") else ()
    if name in CALL_ARGUMENTS or name in _METHOD_ARGUMENTS or name in counted:
        return f"{name} is an argument of the model's own."
    return None


def node_clash(name: str, tokens: dict[str, int]) -> str | None:
    """Why a node cannot be called this; None if it can."""
    if name.startswith("_"):
        return "names that begin with _ are the model's own."
    of_token = {f"get_{token}_features" for token in tokens} if name.startswith("get_") else ()
    return f"{name} is an attribute of the model's own." if name in MODEL_ATTRIBUTES or name in of_token else None
