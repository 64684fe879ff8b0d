"""Seconds of a collective, by where its ranks stand: within a node, or on several.

Megatron-Core orders ranks with tensor parallelism innermost, then context, data and, outermost, pipeline parallelism;
for experts: those that share an expert, then expert-parallel ranks, then replicas.
"""

from attrs import frozen

from composer.plans.costs import Collective, Group
from composer.plans.execution import Execution
from composer.plans.hardware import Hardware


@frozen
class Ranks:
    """A group: its size, and how many of it stand on one node."""

    size: int
    together: int

    @classmethod
    def of(cls, size: int, stride: int, node: int) -> "Ranks":
        """`size` ranks, each `stride` after the one before."""
        return cls(size, max(1, min(size, node // stride)))


@frozen
class Groups:
    """Groups of one execution that messages of layers, and gradients, travel in."""

    tp: Ranks
    cp: Ranks
    ep: Ranks
    etp: Ranks
    data: Ranks
    """Ranks that hold the same parameters outside of experts: data- and context-parallel ones."""
    expert_data: Ranks

    @classmethod
    def of(cls, execution: Execution, node: int) -> "Groups":
        """As Megatron-Core places them."""
        layout = execution.layout
        return cls(
            tp=Ranks.of(layout.tp, 1, node),
            cp=Ranks.of(layout.cp, layout.tp, node),
            ep=Ranks.of(layout.ep, layout.etp, node),
            etp=Ranks.of(layout.etp, 1, node),
            data=Ranks.of(execution.data_ranks * layout.cp, layout.tp, node),
            expert_data=Ranks.of(execution.expert_data_ranks, layout.etp * layout.ep, node),
        )

    def named(self, group: Group) -> Ranks:
        """By the name that messages give."""
        ranks: Ranks = getattr(self, group)
        return ranks


@frozen
class Links:
    """Bytes/s of one GPU over NVLink and over the network, as collectives reach them, and seconds to start one."""

    nvlink: float
    network: float
    latency: float

    @classmethod
    def of(cls, hardware: Hardware) -> "Links":
        """From bandwidths and the efficiency of collectives."""
        reached = hardware.efficiency.network * 1e9
        return cls(hardware.nvlink_gbs * reached, hardware.network_gbs * reached, hardware.latency_us * 1e-6)

    def seconds(self, collective: Collective, ranks: Ranks, bytes_: float) -> float:
        """Of one collective.

        Gathering and scattering sums move all but a rank's own part through every GPU; between nodes, each GPU of the
        group in a node carries its share of what the others need. A sum for all is both. Exchanging sends each rank
        its part; what stays in the node goes over NVLink at the same time.

        Args:
            collective: what is done.
            ranks: who takes part.
            bytes_: of the whole tensor on one rank.
        """
        size, together = ranks.size, ranks.together
        if size == 1:
            return 0.0
        if collective == "all_to_all":
            inside = bytes_ * (together - 1) / size / self.nvlink
            outside = bytes_ * (size - together) / size / self.network
            return max(inside, outside) + self.latency
        inside = bytes_ * (size - 1) / size / self.nvlink if together > 1 else 0.0
        outside = bytes_ * (1 - together / size) / together / self.network
        once = max(inside, outside)
        return (2 * once if collective == "all_reduce" else once) + self.latency

    def pipeline(self, bytes_: float, stride: int, node: int) -> float:
        """From one pipeline rank to the next, `stride` ranks on."""
        return bytes_ / (self.nvlink if stride < node else self.network) + self.latency
