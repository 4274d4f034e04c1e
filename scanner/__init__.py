"""The scan: from a bundle and a manifest of prompts to scores and masks in Parquet. No torch.

Shape legend of the package: K tangents, N batch, C channels, h w latent height and width, H W image height and width.
"""
