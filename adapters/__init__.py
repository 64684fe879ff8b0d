"""The outside world: Hugging Face, Megatron-Core, engines, the command line. The only place where everything meets."""
