"""The command `vlm-composer`: one file a command, each imported only when it runs."""
