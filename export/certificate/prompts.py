"""The prompts that a certificate is measured on, where the user names none.

The first half are captions that Stable Diffusion 1.x is known to reproduce (Carlini et al., USENIX Security 2023;
Webster, 2023; Wen et al., ICLR 2024), for a difference of curvatures is large where something is memorized; the others
are everyday prompts. A model that never saw the captions draws them like any other prompt.
"""

PROMPTS = (
    "Living in the Light with Ann Graham Lotz",
    "The No Limits Business Woman Podcast",
    "a bowl of oranges on a wooden table",
    "two children flying a kite on the beach",
)
