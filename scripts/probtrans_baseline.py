#!/usr/bin/env python3
"""Speed of a straightforward PyTorch version of the Probabilistic Transformer's equations.

    probtrans_baseline.py CONFIG.yaml [--sentences FILE] [--steps N] [--device cuda] [--check FOLDER]

Trains the model of a config under configs/probtrans (task tagging, cogs or mlm; root for
classification is left out) on random tags, with sentence lengths from a file of one sentence a line
(or of --lengths), and prints sentences per second as JSON. The equations are written as they stand:
the ternary tensor is recovered for every step, and pairs are scored in all distance bins, of which
a mask keeps the right one. Batches are cut into micro-batches as the recipe says.

`--check FOLDER` compares the encoder with a recorded case (weights.safetensors, io.safetensors).
"""

import argparse
import json
import pathlib
import random
import sys
import time

import torch


def scalar(text):
    if text.startswith("["):
        return [scalar(part.strip()) for part in text[1:-1].split(",") if part.strip()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def read_config(path):
    """Sections of plain keys, which is all that configs/probtrans has; no YAML package needed."""
    config, section = {}, {}
    for line in pathlib.Path(path).read_text().splitlines():
        key, _, value = line.split("#")[0].strip().partition(":")
        indent = len(line) - len(line.lstrip())
        if not key:
            continue
        if indent == 0:
            section = config.setdefault(key, {})
        if value.strip() and indent == 0:
            config[key] = scalar(value.strip())
        elif value.strip():
            section[key] = scalar(value.strip())  # those of train.optim fall into train
    return config


class MeanField(torch.nn.Module):
    """h channels, d labels; factor full, uv or uvw; heads first, then labels."""

    def __init__(self, labels, channels, iterations, factor, rank=0, distance_cuts=(), dropout=0.0):
        super().__init__()
        self.labels, self.iterations, self.dropout = labels, iterations, dropout
        self.cuts = list(distance_cuts)
        bins = 2 * (len(self.cuts) + 1)
        normal = lambda *shape: torch.nn.Parameter(torch.randn(*shape) / max(rank, 1) ** 0.5)
        if factor == "full":
            self.ternary = normal(bins, labels, labels, channels)
        elif factor == "uv":
            self.U, self.V = normal(bins, labels, rank, channels), normal(bins, labels, rank, channels)
        else:
            self.U, self.V = normal(bins, labels, rank), normal(bins, labels, rank)
            self.W = normal(bins, channels, rank)
        self.factor = factor

    def recovered(self):
        if self.factor == "full":
            return self.ternary
        if self.factor == "uv":
            return torch.einsum("kalc,kblc->kabc", self.U, self.V)
        return torch.einsum("kal,kbl,kcl->kabc", self.U, self.V, self.W)

    def bin_masks(self, n, like):
        place = torch.arange(n, device=like.device)
        offset = place[None, :] - place[:, None]  # head - child
        number = sum((offset.abs() >= cut).long() for cut in self.cuts)
        if not self.cuts:
            number = torch.zeros_like(offset)
        half = len(self.cuts) + 1
        masks = [(offset > 0) & (number == k) for k in range(half)]
        masks += [(offset < 0) & (number == k) for k in range(half)]
        return torch.stack(masks).to(like.dtype)

    def forward(self, unary, mask):
        n = unary.shape[1]
        words = mask.unsqueeze(2).to(unary.dtype)
        ternary, bins = self.recovered(), self.bin_masks(n, unary)
        hidden = ~(mask[:, None, :] & mask[:, :, None] & ~torch.eye(n, dtype=bool, device=mask.device))
        drop = torch.nn.functional.dropout
        scores = unary
        for _ in range(self.iterations):
            q = torch.softmax(scores, 2) * words
            # Scores of all pairs in all bins; each pair's own bin is kept.
            pairs = torch.einsum("zia,kabc->zkcib", q, ternary) @ q.transpose(1, 2)[:, None, None]
            f = (pairs * bins[:, None]).sum(1) * self.labels
            heads = torch.softmax(f.masked_fill(hidden.unsqueeze(1), -1e9), 3)
            heads = drop(heads, self.dropout, self.training)
            weights = heads.unsqueeze(1) * bins[:, None]  # [z, k, c, i, j]
            words_of = q[:, None, None]
            g = torch.einsum("zkcib,kabc->zia", weights @ words_of, ternary)
            g = g + torch.einsum("zkcja,kabc->zjb", weights.transpose(3, 4) @ words_of, ternary)
            scores = drop(unary + g, self.dropout, self.training)
        return scores * words


def load_file(path):
    """Tensors of a safetensors file; the package is not needed for that."""
    data = pathlib.Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    types = {"F32": torch.float32, "F64": torch.float64, "I32": torch.int32, "I64": torch.int64}
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=types[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def check(model, folder):

    folder = pathlib.Path(folder)
    model.double().load_state_dict({k: v.double() for k, v in load_file(folder / "weights.safetensors").items()})
    model.eval()
    io = load_file(folder / "io.safetensors")
    mask = io["mask"].bool()
    out = model(io["x"].double(), mask)
    error = ((out - io["want.out"]).abs() * mask.unsqueeze(2)).max().item()
    print(json.dumps({"case": folder.name, "largest_error": error}))
    sys.exit(0 if error < 1e-9 else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config")
    parser.add_argument("--sentences", help="text file whose lines give the lengths")
    parser.add_argument("--mean-length", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--check")
    args = parser.parse_args()
    config = read_config(args.config)
    options = {k: v for k, v in config["model"].items()
               if k in ("labels", "channels", "iterations", "factor", "rank", "distance_cuts", "dropout")}
    if args.check:
        meta = json.loads((pathlib.Path(args.check) / "meta.json").read_text())["options"]
        form = meta.get("use_td", "no").split(":")
        options = dict(labels=meta["d_model"], channels=meta["n_head"], iterations=meta["n_iter"],
                       factor="full" if form[0] == "no" else form[0],
                       rank=int(form[1]) if len(form) > 1 else 0,
                       distance_cuts=[int(c) for c in meta["dists"].split(",") if c.strip()])
        check(MeanField(**options), args.check)

    torch.manual_seed(0)
    random.seed(0)
    device = torch.device(args.device)
    if args.sentences:
        lines = pathlib.Path(args.sentences).read_text().splitlines()
        lengths = [len(line.split()) for line in lines if line.strip()]
    else:
        lengths = [1 + int(random.expovariate(1.0 / args.mean_length)) for _ in range(10000)]
    vocabulary, tags = 20000, 50
    encoder = MeanField(**options)
    model = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(vocabulary, options["labels"]),
                                 "encoder": encoder,
                                 "head": torch.nn.Linear(options["labels"], tags)}).to(device)
    train = config["train"]
    optimizer = torch.optim.Adam(model.parameters(), lr=train["lr"], eps=1e-9,
                                 weight_decay=train.get("weight_decay", 0.0))
    batch, micro = train["batch_size"], train.get("micro_batch_size", 0) or train["batch_size"]
    penalty = train.get("score_norm", 0.0)

    def step(number):
        optimizer.zero_grad()
        for begin in range(0, batch, micro):
            rows = [lengths[(number * batch + begin + r) % len(lengths)] for r in range(micro)]
            size = torch.tensor(rows, device=device)
            mask = torch.arange(max(rows), device=device)[None, :] < size[:, None]
            ids = torch.randint(0, vocabulary, mask.shape, device=device)
            labels = torch.randint(0, tags, mask.shape, device=device)
            out = model["head"](model["encoder"](model["embedding"](ids) * mask.unsqueeze(2), mask))
            losses = torch.nn.functional.cross_entropy(out.transpose(1, 2), labels, reduction="none")
            loss = ((losses * mask).sum(1) / size).mean()
            if penalty:
                loss = loss + penalty * encoder.recovered().norm()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    for number in range(3):
        step(number)
    wait()
    start = time.perf_counter()
    for number in range(3, 3 + args.steps):
        step(number)
    wait()
    seconds = time.perf_counter() - start
    print(json.dumps({"config": args.config, "what": "PyTorch fp32", "device": str(device),
                      "steps": args.steps,
                      "sentences_per_second": args.steps * batch / seconds,
                      "step_seconds": seconds / args.steps}))


if __name__ == "__main__":
    main()
