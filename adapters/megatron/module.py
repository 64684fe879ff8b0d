"""`ComposedModel`: the graph as a Megatron module.

Legend: S sequence, B batch, H hidden, V vocabulary, N feature rows.
"""

from functools import partial
from typing import Any

import torch
from megatron.core.enums import ModelType
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.module import MegatronModule
from torch import Tensor

from adapters import transformer_engine
from adapters.megatron.arguments import Arguments
from adapters.megatron.call import Call, MissingInputError
from adapters.megatron.compile import Program, compile_graph
from adapters.megatron.config import ComposedConfig
from adapters.megatron.implementation import implementation
from adapters.megatron.node_step import NodeStep
from adapters.megatron.shared_encoding import EncodingRanks
from components.context import BuildContext
from components.fusion.rank_tokens import RankTokens
from components.fusion.sequence_order import SequenceShare
from composer.plans.selector_parser import parse_selector
from composer.plans.selectors import Scope


class ComposedModel(MegatronModule):
    """A vision-language model assembled from a graph; a drop-in for a hand-written Megatron wrapper.

    Submodules carry the names of the spec's nodes. Towers and projectors live on the first pipeline stage. With tensor
    or context parallelism, `backward` alone leaves gradients of towers and norms incomplete: use `data_parallel` and
    `forward_backward` of `adapters.megatron.schedule`.
    """

    config: ComposedConfig

    def __init__(
        self,
        config: ComposedConfig,
        pre_process: bool = True,
        post_process: bool = True,
        vp_stage: int | None = None,
    ) -> None:
        super().__init__(config=config)
        graph = config.graph
        if graph is None:
            raise ValueError("the configuration carries no graph: make it with adapters.megatron.composed_config")
        self.pre_process, self.post_process, self.vp_stage = pre_process, post_process, vp_stage
        self.pg_collection = ProcessGroupCollection.use_mpu_process_groups()
        self.model_type = ModelType.encoder_or_decoder  # schedules and checkpoints of Megatron-Core ask for it
        self.share_embeddings_and_output_weights = False
        self._sequence_share = SequenceShare(self.pg_collection.cp.rank(), self.pg_collection.cp.size())
        self._tokens_of_rank = RankTokens.of(self.pg_collection, sequence_parallel=config.sequence_parallel)
        self._encoding: EncodingRanks | None = None
        self.program: Program = compile_graph(graph, pre_process=pre_process, dtype=config.params_dtype)
        kinds = graph.decoder().config.layers.kinds
        softcaps = {
            name: kind.attention.softcap
            for name, kind in kinds.items()
            if kind.attention is not None and kind.attention.softcap is not None
        }
        transformer_engine.check(config, self.program.rules, softcaps)
        fused = None
        if config.transformer_impl == "transformer_engine":
            fused = transformer_engine.FusedAttention.for_model(config, self.pg_collection)
        context = BuildContext(
            transformer=config,
            groups=self.pg_collection,
            rules=self.program.rules,
            layout=self.program.layout,
            injected=self.program.injected,
            tied=self.program.tied,
            pre_process=pre_process,
            post_process=post_process,
            vp_stage=vp_stage,
            core_attention=fused,
        )
        for name in (*(self.program.encoders if pre_process else ()), self.program.decoder):
            node = graph.nodes[name]
            self.add_module(name, implementation(graph.component(name)).build(node.config, context))
        if not (config.use_cpu_initialization or config.init_model_with_meta_device):
            # Megatron-Core makes its own parameters there; towers, projectors and small buffers start on the CPU.
            self.to(torch.cuda.current_device())
        self.share_embeddings_and_output_weights = self.program.tied
        self._share_items()
        self.arguments = Arguments.of(graph, self.program.counted, first_stage=pre_process)

    def _share_items(self) -> None:
        """Deal the items of a batch out to the ranks that are given the same batch."""
        groups = self.pg_collection
        if self.pre_process and groups.tp_cp.size() > 1:
            self._encoding = EncodingRanks(groups.tp_cp, groups.tp, groups.cp)
            for step in self.program.steps:
                if isinstance(step, NodeStep) and step.shared:
                    self._encoding.mark(getattr(self, step.name))

    @property
    def decoder_node(self) -> Any:
        """The language model, whatever the spec calls it."""
        return getattr(self, self.program.decoder)

    def own_positions(self, length: int) -> Tensor:
        """[L] int64: which of `length` positions this context-parallel rank answers for; all without such ranks."""
        order = self._sequence_share.rank_order(length, torch.device(torch.cuda.current_device()))
        return self._sequence_share.own(order)

    def set_input_tensor(self, input_tensor: Tensor | list[Tensor]) -> None:
        """Hidden states [S, B, H] from the previous pipeline stage, as Megatron-Core's schedules hand them over."""
        self.decoder_node.set_input_tensor(input_tensor)

    def shared_embedding_or_output_weight(self) -> Tensor:
        """[V, H] the tied table on this stage."""
        weight: Tensor = self.decoder_node.shared_embedding_or_output_weight()
        return weight

    def forward(self, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor, Tensor | None]:
        """One pipeline stage of the model.

        Arguments, by position or name, are those of a Megatron VLM wrapper; the spec's own inputs stand in the middle:
        `(input_ids, attention_mask, position_ids, inputs_embeds, <inputs of the spec>, labels, runtime_gather_output,
        packed_seq_params, *, loss_mask, <token>s_per_sample)`.

        Args:
            input_ids: [B, S] int64.
            attention_mask: [B, S] bool, True at real tokens; combined with the mask rules.
            position_ids: [B, S] int64; None: index in the document.
            inputs_embeds: [B, S, H], already scaled; replaces only the text embedding.
            labels: [B, S] int64, already shifted; negative where ignored.
            runtime_gather_output: gather logits over tensor-parallel ranks.
            packed_seq_params: document borders of a packed row (B = 1).
            loss_mask: [B, S], handed back beside the loss.
            images_per_sample: [B] int64 (one such argument per placeholder token): makes the count check exact.

        Under context parallelism each rank is given whole sequences and answers for its own positions: L of S, see
        `components.fusion.sequence_order`. Else L = S.

        Returns:
            Logits [B, L, V] on the last stage, hidden states [L, B, H] before it (with the features that later stages
            add, see `components.fusion.inject.pack_stage`); `(tensor, loss_mask)` if labels or a
            loss mask are given, where the last stage's tensor is the unreduced loss [B, L] float32, 0 where ignored,
            and the loss mask is [B, L].

        Raises:
            MissingInputError: something an edge needs was not given.
            FeatureCountError: features and placeholders differ; names the sample.
            SequenceLengthError: the sequence cannot be dealt out to context-parallel ranks.
            ArgumentError: an argument of the wrong shape or kind.
        """
        given = self.arguments.signature.bind(*args, **kwargs).arguments
        call = self.arguments.call(given)
        call.encoding, call.tokens_of_rank = self._encoding, self._tokens_of_rank
        if self._sequence_share.ranks > 1:
            call.rank_order = self._sequence_share.rank_order(call.shape[1], call.device)
            call.own = self._sequence_share.own(call.rank_order)
        for step in self.program.steps:
            step(self, call)
        if call.embeddings is not None and not call.embeddings.requires_grad and self._needs_gradient():
            call.embeddings.requires_grad_()
        labels, loss_mask = given.get("labels"), given.get("loss_mask")
        if call.own is not None:
            labels, loss_mask = (None if each is None else each[:, call.own] for each in (labels, loss_mask))
        output = self.decoder_node(
            call.embeddings,
            call.metadata,
            call.rotation,
            levels=call.levels,
            labels=labels,
            runtime_gather_output=given.get("runtime_gather_output"),
            packed_seq_params=given.get("packed_seq_params"),
        )
        if labels is None and loss_mask is None:
            return output
        if loss_mask is None and labels is not None:
            loss_mask = (labels >= 0).float()
        return output, loss_mask

    def _needs_gradient(self) -> bool:
        """Whether the decoder's input must carry gradient though nothing that made it does.

        Where towers train, a batch may have no image for them: ranks with images go back through the frozen decoder,
        and need this one to do so too where experts of both are exchanged. What is recomputed gets gradients of its
        parameters only if its input carries one (Megatron-Core's checkpoints are functions of their inputs).
        """
        if not torch.is_grad_enabled():
            return False
        watched = [getattr(self, name) for name in self.program.encoders] if self.pre_process else []
        if self.training and self.config.recompute_granularity is not None:
            watched.append(self.decoder_node)
        return any(parameter.requires_grad for module in watched for parameter in module.parameters())

    def features(self, modality: str, *args: Any, **kwargs: Any) -> Tensor:
        """Projected features of one modality, as they would be scattered.

        Args:
            modality: a placeholder token of the spec, `image` say; also as `get_image_features(...)`.
            args, kwargs: the spec's inputs that the modality needs, in the order of the spec. Keyword arguments of
                transformers' own method that choose no computation here (`return_dict`) are accepted.

        Returns:
            [N, H], items one after the other.

        Raises:
            MissingInputError: an input the tower needs was not given.
            RuntimeError: this is not the first pipeline stage.
        """
        if not self.pre_process:
            raise RuntimeError(f"get_{modality}_features: towers are on the first pipeline stage")
        owner, needs = self.program.modalities[modality]
        kwargs.pop("return_dict", None)
        if len(args) > len(needs) or kwargs.keys() & set(needs[: len(args)]):
            raise TypeError(f"get_{modality}_features takes {', '.join(needs)}, each once")
        values = dict(zip(needs, args, strict=False)) | kwargs
        if unknown := values.keys() - set(needs):
            raise TypeError(f"get_{modality}_features takes {', '.join(needs)}, not {', '.join(sorted(unknown))}")
        call = Call(values=values, input_ids=None, shape=(0, 0), device=torch.device("cpu"))
        for step in self.program.steps:
            if isinstance(step, NodeStep):
                step(self, call)
        if call.values.get(owner) is None:
            raise MissingInputError(f"get_{modality}_features needs {', '.join(needs)}")
        features: Tensor = call.values[owner]
        return features

    def __getattr__(self, name: str) -> Any:
        if name.startswith("get_") and name.endswith("_features"):
            modality = name.removeprefix("get_").removesuffix("_features")
            if modality in self.program.modalities:
                return partial(self.features, modality)
        return super().__getattr__(name)

    def freeze(
        self,
        freeze_language_model: bool = False,
        freeze_vision_model: bool = False,
        freeze_vision_projection: bool = False,
    ) -> None:
        """Stop the parameters of a role from training; what is not named stays as it is."""
        chosen = {"decoder": freeze_language_model, "tower": freeze_vision_model, "projector": freeze_vision_projection}
        self.freeze_selected(*(f"role({role})" for role, frozen in chosen.items() if frozen))

    def freeze_selected(self, *selectors: str) -> None:
        """Stop from training what some selectors of a freeze plan select; nothing is selected where nothing is held.

        Args:
            selectors: as in a spec's `stages`: `tower`, `decoder - norms`, `layers(0..3)`, `"*.q_norm.*"`.

        Raises:
            SelectorSyntaxError: text that is no selector.
        """
        from adapters.megatron.parameter_names import canonical_names
        from adapters.plans.parameter_parts import rank_parameters

        assert self.config.graph is not None
        scope = Scope.of(self.config.graph, self.config.num_layers)
        parameters = rank_parameters(self.config.graph, self)
        named = canonical_names(self)
        for text in selectors:
            for name in parse_selector(text).select(parameters, scope):
                named[name].requires_grad_(False)
