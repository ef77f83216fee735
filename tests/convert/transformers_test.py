#!/usr/bin/env python3
"""Loads what `ckv convert --to hf` writes with Transformers and compares.

usage: transformers_test.py CKV WRITE_LOGITS ENCODE_TEXT [UNITTEST_ARGUMENT...]

The arguments are programs of the build; CKV_GOLDENS names the folder of fixtures. Exits with 77
(skipped) where that, torch, transformers or sentencepiece is missing.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

os.environ["HF_HUB_OFFLINE"] = "1"

try:
    import sentencepiece  # noqa: F401  (LlamaTokenizer needs it)
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

PROGRAMS = {}  # and folders
EXPORTS = {}
TOLERANCE = 1e-4  # fp32 against fp32, sums in another order; 2e-5 seen


def run(program, *arguments, stdin=None):
    done = subprocess.run([PROGRAMS[program], *map(str, arguments)], input=stdin,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{program} {arguments}: {done.stderr.decode()}")
    return done.stdout


def goldens(needed):
    """Folders of fixtures of models whose io.safetensors has the tensor `needed`."""
    found = []
    for path in sorted(pathlib.Path(PROGRAMS["goldens"], "kv").glob("*/model.safetensors")):
        io = load_file(path.parent / "io.safetensors")
        if needed in io:
            found.append((path.parent, io))
    return found


def load(folder, **options):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=True, torch_dtype=torch.float32, **options)
    return model.eval()


def difference(a, b, mask=None):
    """The largest difference, at real tokens only if there is padding."""
    apart = (a - b).abs()
    return (apart if mask is None else apart * mask.unsqueeze(-1)).max().item()


class TransformersTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.dir = pathlib.Path(temporary.name)

    def export(self, source, *arguments):
        """The folder of an export, which is made once."""
        key = (source, arguments)
        if key not in EXPORTS:
            EXPORTS[key] = pathlib.Path(PROGRAMS["exports"], str(len(EXPORTS)))
            run("ckv", "convert", source, "--to", "hf", "--out", EXPORTS[key], *arguments)
        return EXPORTS[key]

    def logits_of_ckv(self, folder, io):
        save_file(io, self.dir / "io.safetensors")
        run("write_logits", folder, self.dir / "io.safetensors", self.dir / "logits.safetensors")
        return load_file(self.dir / "logits.safetensors")["logits"]

    def test_plain_export_is_stock_llama(self):
        for source, io in goldens("logits"):
            if json.loads((source / "config.json").read_text())["model_type"] != "llama":
                continue
            with self.subTest(source.name):
                model = transformers.LlamaForCausalLM.from_pretrained(self.export(source)).eval()
                with torch.no_grad():
                    logits = model(io["input_ids"]).logits
                self.assertLess(difference(logits, self.logits_of_ckv(source, io)), TOLERANCE)

    def test_goldens_logits_loss_and_gradients(self):
        sources = goldens("logits")
        self.assertTrue(sources)
        for source, io in sources:
            with self.subTest(source.name):
                tolerances = json.loads((source / "meta.json").read_text())["tolerances"]
                model = load(self.export(source))
                mask = io.get("attention_mask")
                output = model(io["input_ids"], attention_mask=mask, labels=io["labels"])
                self.assertLess(difference(output.logits, io["logits"], mask),
                                tolerances["logits_atol"])
                self.assertLess(abs(output.loss.item() - io["loss"].item()),
                                tolerances["loss_atol"])
                output.loss.backward()
                for name, parameter in model.named_parameters():
                    want = io[f"grad.{name}"]
                    got = torch.zeros_like(want) if parameter.grad is None else parameter.grad
                    bound = tolerances["grad_atol"] + tolerances["grad_rtol"] * want.abs()
                    self.assertTrue(((got - want).abs() <= bound).all(), name)

    def test_goldens_scoring_without_gradients(self):
        for source, io in goldens("prefill_logits"):
            with self.subTest(source.name), torch.no_grad():
                mask = io.get("attention_mask")
                logits = load(self.export(source))(io["input_ids"], attention_mask=mask).logits
                self.assertLess(difference(logits, io["prefill_logits"], mask), TOLERANCE)

    def test_goldens_token_by_token(self):
        for source, io in goldens("sequential_logits"):
            with self.subTest(source.name), torch.no_grad():
                model, mask = load(self.export(source)), io.get("attention_mask")
                parts, cache = [], None
                for at in range(io["input_ids"].shape[1]):
                    output = model(io["input_ids"][:, at:at + 1], past_key_values=cache,
                                   attention_mask=None if mask is None else mask[:, :at + 1],
                                   use_cache=True)
                    cache = output.past_key_values
                    parts.append(output.logits)
                self.assertLess(
                    difference(torch.cat(parts, 1), io["sequential_logits"], mask), TOLERANCE)

    def generate(self, model, ids, count, **options):
        # The recorded texts go on behind the end of sentence.
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = 0
        return model.generate(ids, max_new_tokens=count, do_sample=False, **options)

    def test_goldens_greedy_generation(self):
        for prefix in ("", "short_", "leftpad_"):
            for source, io in goldens(f"{prefix}generated_ids"):
                with self.subTest(source.name, prefix=prefix):
                    prompt, want = io[f"{prefix}prompt_ids"], io[f"{prefix}generated_ids"]
                    mask = io.get(f"{prefix}attention_mask", torch.ones_like(prompt))
                    got = self.generate(load(self.export(source)), prompt,
                                        want.shape[1] - prompt.shape[1], attention_mask=mask)
                    self.assertTrue(torch.equal(got, want))

    def test_generation_without_cache(self):
        # As many passes as tokens are exact, so that no cache and a cache agree.
        source = pathlib.Path(PROGRAMS["goldens"], "kv", "lckv_w2")
        model = load(self.export(source), forward_passes=40)
        ids = load_file(source / "io.safetensors")["prompt_ids"]
        with_cache, without = (self.generate(model, ids, 12, use_cache=flag)
                               for flag in (True, False))
        self.assertTrue(torch.equal(with_cache, without))

    def test_every_pattern_preset_and_split_layout(self):
        source = pathlib.Path(PROGRAMS["goldens"], "kv", "vanilla_gqa")
        ids = load_file(source / "io.safetensors")["input_ids"]
        layouts = ["{preset: lckv, warmup: 2}", "{preset: cla, factor: 2}",
                   "{preset: mlkv, kv_layers: 2}", "{preset: yoco, window: 5}",
                   "{preset: mixattention, window: 5}",
                   "{preset: gemma3n, shared: 1, window: 5}", "{preset: fusedkv_lite}",
                   "0_5/0_2/4s_3_1/1_5", "5_4_3_2_1_0", "1/0s*5_5"]
        layouts += [f"{{pattern: {pattern}, target: {target}, kv_layers: {count}}}"
                    for pattern in ("pizza", "sandwich", "lasagna")
                    for target in ("bottom", "middle", "top") for count in (2, 3)]
        for layout in layouts:
            with self.subTest(layout):
                shared = self.export(source, "--sharing", layout, "--method", "average",
                                     "--window", "5")
                want = self.logits_of_ckv(shared, {"input_ids": ids})
                with torch.no_grad():
                    got = load(shared)(ids).logits
                self.assertLess(difference(got, want), TOLERANCE)

    def test_rope_scalings(self):
        source = pathlib.Path(PROGRAMS["goldens"], "kv", "vanilla_gqa")
        ids = load_file(source / "io.safetensors")["input_ids"]
        for scaling in ({"rope_type": "linear", "factor": 4.0},
                        {"rope_type": "dynamic", "factor": 4.0},
                        {"rope_type": "yarn", "factor": 4.0,
                         "original_max_position_embeddings": 16},
                        {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 16}):
            for layout in ("0_1_2_3_4_5", "0_4_4_4_4_5"):
                with self.subTest(scaling["rope_type"], layout=layout), torch.no_grad():
                    folder = self.dir / f"{scaling['rope_type']}{layout}"
                    shutil.copytree(self.export(source, "--sharing", layout), folder)
                    config = json.loads((folder / "config.json").read_text())
                    config["max_position_embeddings"] = 16  # shorter than the text
                    config["rope_scaling"] = scaling
                    (folder / "config.json").write_text(json.dumps(config))
                    want = self.logits_of_ckv(folder, {"input_ids": ids})
                    self.assertLess(difference(load(folder)(ids).logits, want), TOLERANCE)

    def test_options_that_only_our_format_has(self):
        source = pathlib.Path(PROGRAMS["goldens"], "kv", "swa_cyclic")
        ids = load_file(source / "io.safetensors")["input_ids"]
        for changes in ({"force_nodiag": True}, {"use_sequential": True},
                        {"forward_passes": 0, "backward_passes": 1}):
            with self.subTest(str(changes)):
                folder = self.dir / "_".join(changes)
                shutil.copytree(self.export(source), folder)
                config = json.loads((folder / "config.json").read_text())
                (folder / "config.json").write_text(json.dumps({**config, **changes}))
                with torch.no_grad():
                    got = load(folder)(ids).logits
                want = self.logits_of_ckv(folder, {"input_ids": ids})
                self.assertLess(difference(got, want), TOLERANCE)

    def test_what_transformers_saves_comes_back(self):
        for name in ("cla2_tied", "mixed_windows"):
            source = pathlib.Path(PROGRAMS["goldens"], "kv", name)
            with self.subTest(name):
                saved = self.dir / f"saved_{name}"
                load(self.export(source)).save_pretrained(saved)
                back = self.dir / f"back_{name}"
                run("ckv", "convert", saved, "--out", back)
                want = load_file(source / "model.safetensors")
                got = load_file(back / "model.safetensors")
                self.assertEqual(sorted(got), sorted(want))
                for tensor, value in want.items():
                    self.assertTrue(torch.equal(got[tensor], value), tensor)

    @unittest.skipIf(transformers.__version__ >= "5", "rewrites SentencePiece models when loading")
    def test_tokenizer_gives_the_same_ids(self):
        corpus = self.dir / "corpus.txt"
        run("ckv", "data", "stories", "--count", "600", "--seed", "3", "--out", corpus)
        text = ("Once upon a time, Tom had 1234 apples.\n\n  Two  spaces,\ta tab; na\u00efve "
                "caf\u00e9 \u4f60\u597d \U0001f600 ﬁ Ⅳ\nend of it ")
        for kind in ("unigram", "bpe"):
            with self.subTest(kind):
                folder = self.dir / kind
                run("ckv", "convert", pathlib.Path(PROGRAMS["goldens"], "kv", "vanilla_gqa"),
                    "--out", folder)
                run("ckv", "data", "tokenizer", corpus, "--type", kind, "--vocab-size", "600",
                    "--out", folder / "tokenizer.model")
                tokenizer = transformers.LlamaTokenizer.from_pretrained(self.export(folder))
                for piece in (text, text[:20], text[20:], " leading", "x", "\n"):
                    want = [int(word) for word in
                            run("encode_text", folder, stdin=piece.encode()).split()]
                    self.assertEqual(tokenizer(piece)["input_ids"], want, repr(piece))
                    self.assertEqual(tokenizer.decode(want), piece)


if __name__ == "__main__":
    for key in ("ckv", "write_logits", "encode_text"):
        PROGRAMS[key] = os.path.abspath(sys.argv.pop(1))
    PROGRAMS["goldens"] = os.environ.get("CKV_GOLDENS") or os.path.join(
        os.path.dirname(__file__), "..", "..", "..", "shared", "goldens")
    if not os.path.isdir(os.path.join(PROGRAMS["goldens"], "kv")):
        print("skipped: no fixtures; set CKV_GOLDENS")
        sys.exit(77)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        PROGRAMS["exports"] = folder
        unittest.main(verbosity=2)
