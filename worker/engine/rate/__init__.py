"""Rate-distortion training: latents on a learned step, and what their whole numbers cost."""
