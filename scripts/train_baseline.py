#!/usr/bin/env python3
"""Training speed of a config's plain model beside a good eager PyTorch implementation of the same.

    train_baseline.py CONFIG.yaml [--ckv PROGRAM] [--set KEY=VALUE]... [--vocab N] [--rounds N]

Measures in turn, --rounds times each: `ckv bench train CONFIG --sharing '{preset: vanilla}'`, and a
decoder of equal shape, batch and length written with torch.nn, SDPA, fused AdamW and clipping, on the
CPU in fp32, with the same number of threads. --vocab stands for the tokenizer, which is not read. Prints one JSON line a measurement and the ratio of the
medians. Needs an interpreter with torch; nothing else.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Norm(nn.Module):
    def __init__(self, width, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotated(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        width, inner = shape["hidden_size"], shape["intermediate_size"]
        self.heads, self.kv_heads = shape["num_attention_heads"], shape["num_key_value_heads"]
        self.head = shape["head_dim"]
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.norm, self.mlp_norm = Norm(width), Norm(width)
        self.q, self.o = linear(width, self.heads * self.head), linear(self.heads * self.head, width)
        self.k, self.v = (linear(width, self.kv_heads * self.head) for _ in range(2))
        self.gate, self.up, self.down = linear(width, inner), linear(width, inner), linear(inner, width)

    def forward(self, x, cos, sin):
        rows, length, _ = x.shape
        normed = self.norm(x)
        split = lambda y, heads: y.view(rows, length, heads, self.head).transpose(1, 2)
        q = rotated(split(self.q(normed), self.heads), cos, sin)
        k = rotated(split(self.k(normed), self.kv_heads), cos, sin)
        v = split(self.v(normed), self.kv_heads)
        mixed = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads
        )
        x = x + self.o(mixed.transpose(1, 2).reshape(rows, length, -1))
        normed = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


class Decoder(nn.Module):
    def __init__(self, shape, layers, length, tied):
        super().__init__()
        self.embedding = nn.Embedding(shape["vocab_size"], shape["hidden_size"])
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(layers))
        self.norm = Norm(shape["hidden_size"])
        self.output = nn.Linear(shape["hidden_size"], shape["vocab_size"], bias=False)
        if tied:
            self.output.weight = self.embedding.weight
        half = shape["head_dim"] // 2
        rates = 10000.0 ** (-torch.arange(half) / half)
        angles = torch.arange(length)[:, None] * rates[None, :]
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids):
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return self.output(self.norm(x))


def torch_speed(model, rows, length, steps):
    decay = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
        lr=3e-4, betas=(0.9, 0.95), fused=True,
    )
    vocab = model.embedding.num_embeddings
    seconds = []
    for step in range(steps + 2):
        start = time.perf_counter()
        ids = torch.randint(vocab, (rows, length + 1))
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step >= 2:  # the first two get libraries ready
            seconds.append(time.perf_counter() - start)
    assert math.isfinite(loss.item())
    return rows * length / statistics.mean(seconds)


def output_of(words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"train_baseline.py: error: {' '.join(map(str, words))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--ckv", default="build/release/src/app/ckv")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--vocab", type=int, default=1024, help="entries of the vocabulary")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="steps of a measurement")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sets = [f"model.vocab_size={args.vocab}", "model.kv_sharing={preset: vanilla}", "run.device=cpu",
            "train.precision=fp32", f"run.threads={args.threads}", *args.set]
    words = [part for item in sets for part in ("--set", item)]
    shape = output_of([args.ckv, "inspect", args.config, "--json", *words])
    speeds = {"ckv": [], "PyTorch": []}
    model = None
    for _ in range(args.rounds):
        row = output_of([args.ckv, "bench", "train", args.config, "--json", "--rows", 1, "--row-steps",
                         args.steps, *words])[0]
        if model is None:
            length, layers = row["seq_len"], shape["sharing"]["layers"]
            model = Decoder(shape["model"], layers, length, tied=False)
            count = sum(p.numel() for p in model.parameters())
            if count != row["parameters"]:
                model = Decoder(shape["model"], layers, length, tied=True)
                count = sum(p.numel() for p in model.parameters())
            if count != row["parameters"]:
                sys.exit(f"train_baseline.py: error: {count} parameters, but ckv has {row['parameters']}")
        speeds["ckv"].append(row["tokens_per_second"])
        rows = row["batch_size"]
        speeds["PyTorch"].append(torch_speed(model, rows, length, args.steps))
        for name, values in speeds.items():
            print(json.dumps({"what": name, "tokens_per_second": round(values[-1]), "rows": rows,
                              "length": length, "parameters": row["parameters"]}), flush=True)
    ratio = statistics.median(speeds["ckv"]) / statistics.median(speeds["PyTorch"])
    print(json.dumps({"ckv over PyTorch": round(ratio, 3), "threads": args.threads}))


if __name__ == "__main__":
    main()
