#!/usr/bin/env python3
"""Compares models and their conversion with Hugging Face's Transformers.

Needs pip's torch, transformers, safetensors and numpy, and the built programs:

    tests/interop/hugging_face.py [--bin build/release/bin] [--text FILE]

Randomly initialised GPT-2 and ViT checkpoints that Transformers wrote must give its logits here (to 1e-4), come
back from `convert to-hf` with the bytes of every tensor, and give the same logits there. Experts that are copies
must collapse to the bytes that they came from. What train_gpt trains with fused experts from such a checkpoint must
have the same loss there as here. With --text, Transformers must read the exported tokenizer, too.
"""

import argparse
import json
import pathlib
import re
import subprocess
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, ViTConfig, ViTForImageClassification

GPT2 = {
    "n_inner unset": dict(vocab_size=101, n_positions=17, n_embd=12, n_layer=3, n_head=3),
    "n_inner set": dict(vocab_size=64, n_positions=32, n_embd=16, n_layer=2, n_head=2, n_inner=28),
    "erf": dict(vocab_size=33, n_positions=8, n_embd=8, n_layer=1, n_head=1, activation_function="gelu"),
    "one head, wide": dict(vocab_size=500, n_positions=64, n_embd=64, n_layer=4, n_head=1, layer_norm_epsilon=1e-6),
}
VIT = {
    "small": dict(image_size=12, patch_size=4, num_channels=3, hidden_size=24, num_hidden_layers=3,
                  num_attention_heads=3, intermediate_size=56, num_labels=7),
    "one channel": dict(image_size=10, patch_size=5, num_channels=1, hidden_size=16, num_hidden_layers=2,
                        num_attention_heads=2, intermediate_size=64, num_labels=3, hidden_act="gelu_pytorch_tanh"),
}


def randomise(model):
    """Larger weights than usual, biases and norms too, so that every part shows in the logits."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


class Check:
    def __init__(self, programs, folder):
        self.programs, self.folder, self.failures = programs, folder, 0

    def run(self, program, *arguments):
        command = [str(self.programs / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def expect(self, holds, what, figure=""):
        print(f"{'ok    ' if holds else 'FAILED'} {what} {figure}")
        self.failures += not holds

    def same_logits(self, ours, theirs, what):
        difference = np.abs(np.load(ours) - theirs).max()
        self.expect(difference <= 1e-4, what, f"(largest difference {difference:.1e}, logits up to {np.abs(theirs).max():.1f})")

    def same_tensors(self, a, b, what):
        first, second = (load_file(path / "model.safetensors") for path in (a, b))
        same = first.keys() == second.keys() and all(
            first[n].dtype == second[n].dtype and torch.equal(first[n].view(torch.uint8), second[n].view(torch.uint8))
            for n in first)
        self.expect(same, what, f"({len(first)} tensors)")

    def both_ways(self, name, theirs, ours, logits_of, data):
        """Loading, saving, loading there, and experts, for a model that Transformers saved in `theirs`."""
        npy = self.folder / "logits.npy"
        expected = logits_of(theirs)
        self.run("evaluate", theirs, "--data", data, "--logits", npy)
        self.same_logits(npy, expected, f"{name}: logits here equal those there")
        self.run("convert", "to-hf", theirs, ours)
        self.same_tensors(theirs, ours, f"{name}: there -> here -> there, every byte")
        again = np.abs(logits_of(ours) - expected).max()
        self.expect(again == 0, f"{name}: what was saved here loads there", f"(largest difference {again:.1e})")
        self.narrow(name, theirs)
        for experts in (2, 4, 8):
            fused, collapsed = self.folder / "fused.safetensors", self.folder / f"collapsed-{experts}"
            self.run("convert", "upcycle", theirs, fused, "--experts", experts, "--overwrite")
            self.run("convert", "collapse", fused, collapsed, "--overwrite")
            self.same_tensors(theirs, collapsed, f"{name}: {experts} equal experts collapse to the same bytes")

    def narrow(self, name, theirs):
        """Storing in 16 bits."""
        exact = load_file(theirs / "model.safetensors")
        architecture = json.loads((theirs / "config.json").read_text())["architectures"][0]
        for dtype, here in ((torch.float16, "f16"), (torch.bfloat16, "bf16")):
            folder = self.folder / f"narrow-{here}"
            self.run("convert", "to-hf", theirs, folder, "--dtype", here, "--overwrite")
            stored = load_file(folder / "model.safetensors")
            same = stored.keys() == exact.keys() and all(torch.equal(stored[n], exact[n].to(dtype)) for n in stored)
            there = getattr(transformers, architecture).from_pretrained(folder, dtype="auto").dtype
            self.expect(same and there == dtype, f"{name}: as {here} it has the numbers that torch rounds to, and loads there")

    def gpt2(self, name, settings):
        theirs, ours = self.folder / "gpt2-theirs", self.folder / "gpt2-ours"
        self.fresh(theirs, ours)
        model = randomise(GPT2LMHeadModel(GPT2Config(**settings)))
        model.save_pretrained(theirs)
        windows = 3
        context = settings["n_positions"]
        tokens = np.random.default_rng(3).integers(0, settings["vocab_size"], windows * context + 1).astype(np.uint16)
        data = self.folder / "tokens.bin"
        tokens.tofile(data)
        batch = torch.tensor(tokens[:-1].astype(np.int64)).view(windows, context)

        def logits_of(path):
            with torch.no_grad():
                return GPT2LMHeadModel.from_pretrained(path).eval()(batch).logits.numpy()

        self.both_ways(f"GPT-2, {name}", theirs, ours, logits_of, data)

    def gpt2_sharded(self):
        theirs, ours = self.folder / "gpt2-sharded", self.folder / "gpt2-whole"
        self.fresh(theirs, ours)
        model = randomise(GPT2LMHeadModel(GPT2Config(**GPT2["one head, wide"])))
        model.save_pretrained(theirs, max_shard_size="200KB")
        count = len(list(theirs.glob("model-*.safetensors")))
        model.save_pretrained(self.folder / "gpt2-single")
        self.run("convert", "to-hf", theirs, ours)
        self.same_tensors(self.folder / "gpt2-single", ours, f"GPT-2 in {count} files: every byte")
        self.expect(count > 1, "GPT-2 is in several files")

    def vit(self, name, settings):
        theirs, ours = self.folder / "vit-theirs", self.folder / "vit-ours"
        self.fresh(theirs, ours)
        model = randomise(ViTForImageClassification(ViTConfig(**settings)))
        model.save_pretrained(theirs)
        size = settings["image_size"]
        images = torch.randn((11, settings["num_channels"], size, size), generator=torch.Generator().manual_seed(5))
        data = self.folder / "images.safetensors"
        save_file({"images": images}, data)

        def logits_of(path):
            with torch.no_grad():
                return ViTForImageClassification.from_pretrained(path).eval()(images).logits.numpy()

        self.both_ways(f"ViT, {name}", theirs, ours, logits_of, data)

    def trained(self, text):
        """A checkpoint of Transformers, trained here with fused experts, has the same loss on both sides."""
        theirs, run, data = (self.folder / name for name in ("trained-theirs", "trained-run", "trained-data"))
        self.run("tokenize", text, "--tokenizer", "bpe:512", "--out", data)
        model = randomise(GPT2LMHeadModel(GPT2Config(vocab_size=512, n_positions=64, n_embd=64, n_layer=2, n_head=2)))
        model.save_pretrained(theirs)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (theirs / name).write_bytes((data / name).read_bytes())
        self.run("train_gpt", "--data", data, "--init-from", theirs, "--steps", 200, "--context", 64, "--out", run)
        said = self.run("evaluate", run, "--data", data / "val.bin")
        here = float(re.search(r"loss: ([\d.]+)", said)[1])
        tokens = torch.tensor(np.fromfile(data / "val.bin", dtype=np.uint16).astype(np.int64))
        windows = (len(tokens) - 1) // 64
        inputs, targets = (tokens[i:i + windows * 64].view(windows, 64) for i in (0, 1))
        with torch.no_grad():
            logits = GPT2LMHeadModel.from_pretrained(run).eval()(inputs).logits
            there = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()
        self.expect(abs(here - there) <= 1e-4, "200 steps with fused experts, collapsed: the loss there equals that here",
                    f"({here:.6f}, {there:.6f})")
        tokenizer = AutoTokenizer.from_pretrained(run)
        ids = np.concatenate([np.fromfile(data / name, dtype=np.uint16) for name in ("train.bin", "val.bin")])
        self.expect(tokenizer(pathlib.Path(text).read_text())["input_ids"] == ids[:-1].tolist(),
                    "the exported tokenizer gives the same tokens there", f"({len(ids)} tokens)")

    @staticmethod
    def fresh(*folders):
        for folder in folders:
            subprocess.run(["rm", "-rf", str(folder)], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    parser.add_argument("--text", help="a text of some 100 kB or more")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        check = Check(arguments.bin.resolve(), pathlib.Path(folder))
        for name, settings in GPT2.items():
            check.gpt2(name, settings)
        check.gpt2_sharded()
        for name, settings in VIT.items():
            check.vit(name, settings)
        if arguments.text:
            check.trained(arguments.text)
        raise SystemExit(f"{check.failures} failures" if check.failures else 0)


if __name__ == "__main__":
    main()
