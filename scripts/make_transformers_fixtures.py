#!/usr/bin/env python3
"""Writes tests/fixtures/transformers: a small GPT-2 and a small ViT as Hugging Face's Transformers saves them.

Beside each stands expected.safetensors: tokens or images, and the logits that Transformers computes from them. Needs
pip's torch, transformers and safetensors; run anew with the same versions, it writes the same bytes.

    scripts/make_transformers_fixtures.py
"""

import pathlib

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, ViTConfig, ViTForImageClassification

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/transformers"
GENERATOR = torch.Generator().manual_seed(11)


def randomise(model):
    """Values that show in the logits, biases and norms included."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=GENERATOR) * 0.2)
    return model.eval()


torch.manual_seed(0)
torch.set_num_threads(1)
with torch.no_grad():
    gpt2 = randomise(GPT2LMHeadModel(GPT2Config(vocab_size=33, n_positions=9, n_embd=12, n_layer=2, n_head=3, n_inner=20,
                                                bos_token_id=0, eos_token_id=0)))
    gpt2.save_pretrained(FOLDER / "gpt2")
    tokens = torch.randint(0, 33, (2, 9), generator=GENERATOR)
    save_file({"tokens": tokens.int(), "logits": gpt2(tokens).logits.contiguous()}, FOLDER / "gpt2/expected.safetensors")

    vit = randomise(ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_channels=2, hidden_size=12,
                                                        num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
                                                        num_labels=3)))
    vit.save_pretrained(FOLDER / "vit")
    images = torch.randn((3, 2, 8, 8), generator=GENERATOR)
    save_file({"images": images, "logits": vit(images).logits.contiguous()}, FOLDER / "vit/expected.safetensors")

for file in FOLDER.glob("*/generation_config.json"):
    file.unlink()
for file in FOLDER.glob("*/*"):
    file.chmod(0o644)
