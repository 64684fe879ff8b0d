"""The composed model under DeepSpeed's ZeRO: data parallelism with optimizer, gradients and parameters partitioned."""
