"""Diffusers checkpoints: found, checked, loaded, and wrapped into what is traced."""
