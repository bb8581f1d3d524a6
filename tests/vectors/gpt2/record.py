"""Writes this folder's model and what transformers computes with it: python record.py.

Needs torch and transformers.  The weights are random, drawn with a fixed seed, larger than those
training starts with, so that attention and GELU matter.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write the model and the logits."""
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=61, n_positions=24, n_embd=24, n_layer=2, n_head=3, initializer_range=0.3
    )
    config.bos_token_id = config.eos_token_id = 5
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:
                weight += 0.2 * torch.randn_like(weight)
    model.half().save_pretrained(HERE / "model")
    (HERE / "model" / "generation_config.json").unlink()
    ids = torch.randint(0, 61, (4, 24))
    with torch.no_grad():
        output = model.float()(input_ids=ids, output_hidden_states=True)
    np.savez_compressed(
        HERE / "logits.npz",
        input_ids=ids.numpy().astype(np.int32),
        logits=output.logits.numpy(),
        hidden=output.hidden_states[-1].numpy(),
    )


if __name__ == "__main__":
    main()
