"""Every component this package ships, as the entry point `vlm_composer.components` offers them (torch-free)."""

from components.language.gpt_declaration import GPT
from components.projector.hf_module_declaration import HF_MODULE
from components.projector.mlp_declaration import MLP
from components.projector.tiles_declaration import TILES
from components.vision.hf_tower_declaration import HF_TOWER

COMPONENTS = (HF_TOWER, HF_MODULE, MLP, TILES, GPT)
