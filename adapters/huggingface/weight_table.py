"""Names of a decoder's tensors: here, and in transformers' memory. To be read line by line.

Columns: the composed name · the Hugging Face name (with a leading /, counted from the root of the checkpoint) · the
operation, see `weight_operations.py` · the dimension of the Hugging Face tensor that tensor-parallel ranks share (`-`:
each has all of it; `E1`: expert-parallel ranks share the experts, expert-tensor-parallel ranks dimension 1 of them).

Names may differ from family to family: a decoder's `names` say which beginnings of them, `transposed_experts` how
experts lie.

`{a,b}` is one name per item, in the order of the operation's pieces; `{e}` counts experts, `{s}` names the sets of them
beside the first; `x = y` is one tensor that a
checkpoint may hold under either name, or under both. A heading names the parts of the spec that bring the lines below
it: a field that is set, `field=value`, `not field`, joined by &.
"""

DECODER = """
last
    decoder.final_layernorm.weight                          | norm.weight                           | identity      | -
first & not tied
    embedding.word_embeddings.weight                        | embed_tokens.weight                   | identity      | 0
last & not tied
    output_layer.weight                                     | /lm_head.weight                       | identity      | 0
first & tied
    embedding.word_embeddings.weight                        | embed_tokens.weight = /lm_head.weight | identity      | 0
last & not first & tied
    output_layer.weight                                     | embed_tokens.weight = /lm_head.weight | identity      | 0
"""
"""Once per decoder; names below the decoder node, and below its `weights`. First and last are pipeline stages; a last
stage that is not the first has a copy of a tied table."""

LAYER = """
output_scale=layer_scalar
    output_scale                                            | layer_scalar                          | identity      | -

always
    input_layernorm.weight                                  | input_layernorm.weight                | identity      | -
attention
    self_attention.linear_proj.weight                       | self_attn.o_proj.weight               | identity      | 1
attention & not attention.values.keys & not attention.latent
    self_attention.linear_qkv.weight                        | self_attn.{q,k,v}_proj.weight         | merge heads   | 0
attention & not attention.values.keys & attention.bias
    self_attention.linear_qkv.bias                          | self_attn.{q,k,v}_proj.bias           | merge heads   | 0
attention.values.keys
    self_attention.linear_qkv.weight                        | self_attn.{q,k}_proj.weight           | merge heads   | 0
attention.values.keys & attention.bias
    self_attention.linear_qkv.bias                          | self_attn.{q,k}_proj.bias             | merge heads   | 0
attention.latent & not attention.latent.query_rank
    self_attention.linear_q_proj.weight                     | self_attn.q_proj.weight               | identity      | 0
attention.latent.query_rank
    self_attention.linear_q_down_proj.weight                | self_attn.q_a_proj.weight             | identity      | -
    self_attention.q_layernorm.weight                       | self_attn.q_a_layernorm.weight        | identity      | -
    self_attention.linear_q_up_proj.weight                  | self_attn.q_b_proj.weight             | identity      | 0
attention.latent
    self_attention.linear_kv_down_proj.weight               | self_attn.kv_a_proj_with_mqa.weight   | identity      | -
    self_attention.kv_layernorm.weight                      | self_attn.kv_a_layernorm.weight       | identity      | -
    self_attention.linear_kv_up_proj.weight                 | self_attn.kv_b_proj.weight            | identity      | 0
attention.q_norm=rms
    self_attention.q_norm.weight                            | self_attn.q_norm.weight               | identity      | -
attention.k_norm=rms
    self_attention.k_norm.weight                            | self_attn.k_norm.weight               | identity      | -

delta_net
    self_attention.linear_in.weight                         | linear_attn.in_proj_{qkv,b,a,z}.weight | merge delta  | 0
    self_attention.conv_weight                              | linear_attn.conv1d.weight             | merge conv    | 0
    self_attention.decay                                    | linear_attn.A_log                     | identity      | 0
    self_attention.decay_bias                               | linear_attn.dt_bias                   | identity      | 0
    self_attention.norm.weight                              | linear_attn.norm.weight               | identity      | -
    self_attention.linear_proj.weight                       | linear_attn.out_proj.weight           | identity      | 1

norms=pre
    mlp.input_norm.weight                                   | post_attention_layernorm.weight       | identity      | -
norms=sandwich
    self_attention.output_norm.weight                       | post_attention_layernorm.weight       | identity      | -
    mlp.input_norm.weight                                   | pre_feedforward_layernorm.weight      | identity      | -
    mlp.output_norm.weight                                  | post_feedforward_layernorm.weight     | identity      | -

ffn.dense
    mlp.dense.linear_fc1.weight                             | mlp.{gate,up}_proj.weight             | merge gate up | 0
    mlp.dense.linear_fc2.weight                             | mlp.down_proj.weight                  | identity      | 1
ffn.dense & ffn.experts & ffn.branch_norms
    mlp.dense_norm.weight                                   | post_feedforward_layernorm_1.weight   | identity      | -
    mlp.experts_input_norm.weight                           | pre_feedforward_layernorm_2.weight    | identity      | -
    mlp.experts_norm.weight                                 | post_feedforward_layernorm_2.weight   | identity      | -
ffn.dense & ffn.experts
    mlp.experts.router.weight                               | router.proj.weight                    | identity      | -
    mlp.experts.experts.local_experts.{e}.linear_fc1.weight | experts.gate_up_proj                  | stack gate up | E1
    mlp.experts.experts.local_experts.{e}.linear_fc2.weight | experts.down_proj                     | stack experts | E2
not ffn.dense & ffn.experts
    mlp.experts.router.weight                               | mlp.gate.weight                       | identity      | -
    mlp.experts.experts.local_experts.{e}.linear_fc1.weight | mlp.experts.gate_up_proj              | stack gate up | E1
    mlp.experts.experts.local_experts.{e}.linear_fc2.weight | mlp.experts.down_proj                 | stack experts | E2
ffn.experts.router.bias=learned_correction & not ffn.experts.sets
    mlp.experts.router.correction_bias                      | mlp.gate.e_score_correction_bias      | identity      | -
ffn.experts.router.bias=learned_correction & ffn.experts.sets
    mlp.experts.router.correction_bias                      | mlp.gate.e_score_correction_bias      | row           | -
    mlp.expert_sets.{s}.router.correction_bias              | mlp.{s}.gate.e_score_correction_bias  | row           | -
ffn.experts.sets
    mlp.expert_sets.{s}.router.weight                       | mlp.{s}.gate.weight                   | identity      | -
    mlp.expert_sets.{s}.experts.local_experts.{e}.linear_fc1.weight | mlp.{s}.experts.gate_up_proj  | stack gate up | E1
    mlp.expert_sets.{s}.experts.local_experts.{e}.linear_fc2.weight | mlp.{s}.experts.down_proj     | stack experts | E2
ffn.experts.shared
    mlp.shared_expert.linear_fc1.weight                   | mlp.shared_expert.{gate,up}_proj.weight | merge gate up | 0
    mlp.shared_expert.linear_fc2.weight                     | mlp.shared_expert.down_proj.weight    | identity      | 1
ffn.experts.shared.gate=sigmoid
    mlp.shared_gate.weight                                  | mlp.shared_expert_gate.weight         | identity      | -
ffn.experts.router.input_scale=learned
    mlp.experts.router.input_scale                          | router.scale                          | identity      | -
ffn.experts.router.expert_scale=learned
    mlp.experts.router.expert_scale                         | router.per_expert_scale               | identity      | -
"""
"""Once per layer; names below decoder.layers.<index>, and below layers.<index>."""

GROUPED = {
    "experts.local_experts.{e}.linear_fc1.weight": "experts.linear_fc1.weight{e}",
    "experts.local_experts.{e}.linear_fc2.weight": "experts.linear_fc2.weight{e}",
}
"""Other ends of composed names, where one kernel runs all experts (Megatron-Core's TEGroupedMLP)."""
