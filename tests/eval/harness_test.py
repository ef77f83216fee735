#!/usr/bin/env python3
"""Compares `ckv eval tasks` with lm-evaluation-harness, document by document.

usage: harness_test.py CKV [--data DIR] [--limit N] [UNITTEST_ARGUMENT...]

Trains small models with CKV (a plain one and one whose layers read KVs of a layer above them),
exports them, and lets the harness score the same documents through Transformers on the CPU, N of
each task (default 200; N / 20 articles of WikiText, N / 4 documents with examples). Real data sets
are taken from DIR (default ../shared/data) where they are; PIQA, WinoGrande and HellaSwag in the
format of its release are made up here. Exits with 77 (skipped) where lm_eval, transformers or
sentencepiece is missing.
"""

import argparse
import functools
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

try:
    import datasets
    import lm_eval.tasks
    import sentencepiece  # noqa: F401  (LlamaTokenizer needs it)
    import transformers
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM
    from lm_eval.evaluator import evaluate
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

if not transformers.__version__.startswith("4."):
    print(f"skipped: transformers {transformers.__version__} has no SentencePiece tokenizers")
    sys.exit(77)

TOLERANCE = 1e-3  # of a log-likelihood; sums of fp32 numbers in another order
ROOT = pathlib.Path(__file__).resolve().parents[2]
TASKS = ROOT / "configs" / "tasks"
SETTINGS = {}

TRAINING = """
run: {{device: cpu, threads: 1}}
model: {{num_layers: {layers}, hidden_size: 64, intermediate_size: 128, num_attention_heads: 4,
        max_position_embeddings: 512, kv_sharing: "{sharing}"}}
data: {{train: {tokens}, seq_len: 64}}
train: {{steps: 40, batch_size: 8, optim: {{lr: 1e-2}}, schedule: {{warmup_steps: 5}},
        tensorboard: false}}
"""


def ckv(*arguments):
    done = subprocess.run([SETTINGS["ckv"], *map(str, arguments)], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise AssertionError(f"ckv {arguments}: {done.stderr}")
    return done.stdout


@functools.lru_cache(maxsize=None)
def work():
    return pathlib.Path(SETTINGS["work"])


@functools.lru_cache(maxsize=None)
def model(name):
    """(the run, the exported folder) of a small model."""
    layers, sharing = {"plain": (3, "0_1_2"), "shared": (4, "0_2_2_3")}[name]
    folder = work()
    if not (folder / "s.model").exists():
        ckv("data", "stories", "--count", 800, "--out", folder / "stories.txt")
        ckv("data", "tokenizer", folder / "stories.txt", "--vocab-size", 700, "--out",
            folder / "s.model")
        ckv("data", "prepare", folder / "stories.txt", "--tokenizer", folder / "s.model", "--out",
            folder / "s.tokens")
    config = folder / f"{name}.yaml"
    config.write_text(TRAINING.format(layers=layers, sharing=sharing, tokens=folder / "s.tokens"))
    ckv("train", config, "--set", f"run.dir={folder / name}")
    ckv("convert", folder / name, "--to", "hf", "--out", folder / f"{name}-hf")
    return folder / name, folder / f"{name}-hf"


def harness_config(name):
    """The harness's own YAML file of a task, with its functions."""
    base = pathlib.Path(lm_eval.tasks.__file__).parent
    places = {"hellaswag": "hellaswag/hellaswag.yaml", "piqa": "piqa/piqa.yaml",
              "arc_easy": "arc/arc_easy.yaml", "arc_challenge": "arc/arc_challenge.yaml",
              "winogrande": "winogrande/default.yaml", "openbookqa": "openbookqa/openbookqa.yaml",
              "boolq": "super_glue/boolq/default.yaml", "sciq": "sciq/sciq.yaml",
              "lambada_openai": "lambada/lambada_openai.yaml",
              "wikitext": "wikitext/wikitext.yaml"}
    from lm_eval.tasks._yaml_loader import load_yaml
    config = load_yaml(base / places[name], resolve_func=True)
    for key in ("tag", "dataset_path", "dataset_name", "include", "group"):
        config.pop(key, None)
    return config


def harness(folder, config, documents, examples=(), num_fewshot=0, dtype="float32"):
    """(log-likelihoods of each document's requests, metrics) as the harness has them."""
    splits = {"test": datasets.Dataset.from_list(list(documents))}
    config = dict(config, test_split="test", validation_split=None, training_split=None,
                  custom_dataset=lambda **_: splits, num_fewshot=num_fewshot)
    if examples:
        splits["examples"] = datasets.Dataset.from_list(list(examples))
        config.update(fewshot_split="examples", fewshot_config={"sampler": "first_n"})
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(0)
    lm = load(folder, dtype)
    found = evaluate(lm=lm, task_dict={config["task"]: task}, bootstrap_iters=0, log_samples=True)
    samples = sorted(found["samples"][config["task"]], key=lambda sample: sample["doc_id"])
    scores = []
    for sample in samples:
        scores.append([float(response[0][0] if isinstance(response[0], (list, tuple))
                             else response[0]) for response in sample["resps"]])
    return scores, found["results"][config["task"]]


@functools.lru_cache(maxsize=None)
def load(folder, dtype):
    return HFLM(pretrained=str(folder), trust_remote_code=True, use_fast_tokenizer=False,
                dtype=dtype, device="cpu", batch_size=4)


class HarnessTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.dir = pathlib.Path(temporary.name)

    def ours(self, name, task, limit, arguments):
        run, _ = model(name)
        ckv("eval", "tasks", run, "--tasks", task, "--task-dir", TASKS, "--device", "cpu",
            "--limit", limit, "--no-cache", "--out", self.dir / "results.json", "--log-samples",
            self.dir, *arguments)
        lines = (self.dir / f"samples_{task}.jsonl").read_text().splitlines()
        return ([json.loads(line) for line in lines],
                json.loads((self.dir / "results.json").read_text())["results"][task])

    def compare(self, task, names=("plain", "shared"), limit=None, arguments=(), config=None,
                documents=None, examples=(), few_shot=0, dtype="float32"):
        config = config or harness_config(task)
        limit = limit or SETTINGS["limit"]
        if few_shot:
            arguments = [*arguments, "--few-shot", few_shot]
            if not examples:  # the task's own documents, without the one that is asked about
                config.update(fewshot_split="test", fewshot_config={"sampler": "first_n"})
        for name in names:
            with self.subTest(model=name):
                samples, found = self.ours(name, task, limit, arguments)
                want, metrics = harness(model(name)[1], config,
                                        documents or [sample["doc"] for sample in samples],
                                        examples, few_shot, dtype)
                self.assertEqual(len(samples), len(want))
                for sample, expected in zip(samples, want):
                    got = [response[0] for response in sample["resps"]]
                    self.assertEqual(len(got), len(expected))
                    for a, b in zip(got, expected):
                        self.assertLess(abs(a - b), TOLERANCE, sample["doc_id"])
                pairs = {"acc": "acc", "acc_norm": "acc_chars", "perplexity": "perplexity",
                         "word_perplexity": "word_perplexity",
                         "byte_perplexity": "byte_perplexity", "bits_per_byte": "bits_per_byte"}
                compared = 0
                for theirs, own in pairs.items():
                    if f"{theirs},none" not in metrics or f"{own},none" not in found:
                        continue
                    compared += 1
                    a, b = found[f"{own},none"], metrics[f"{theirs},none"]
                    self.assertLess(abs(a - b), 1e-3 * max(1.0, abs(b)), theirs)
                self.assertGreater(compared, 0)
                for theirs in metrics:
                    if theirs.endswith(",none") and "_stderr" not in theirs:
                        self.assertIn(theirs.removesuffix(",none"), pairs)

    def few_shot(self, task, count, data, examples=None, config=None):
        """The same with the first `count` documents of a file, or of the task itself, as examples."""
        arguments = self.data(data)
        lines = pathlib.Path(SETTINGS["data"], examples).read_text().splitlines() if examples else []
        self.compare(task, limit=max(SETTINGS["limit"] // 4, count + 2), arguments=arguments,
                     examples=[json.loads(line) for line in lines[:count]], few_shot=count,
                     config=config)

    def data(self, path):
        found = pathlib.Path(SETTINGS["data"], path)
        if not found.exists():
            self.skipTest(f"{found} is not there")
        return ["--data-dir", SETTINGS["data"]]

    @staticmethod
    def hellaswag():
        config = harness_config("hellaswag")
        config.pop("process_docs")  # done already in this copy
        config["doc_to_target"] = "{{gold}}"
        return config

    def test_hellaswag(self):
        self.compare("hellaswag", arguments=self.data("hellaswag"), config=self.hellaswag())

    def test_hellaswag_few_shot(self):
        self.few_shot("hellaswag", 4, "hellaswag", config=self.hellaswag())

    def test_hellaswag_as_released(self):
        rows = [{"ind": i, "activity_label": "Tying a shoe", "label": i % 4, "split_type": "zeroshot",
                 "ctx_a": "[header] How to tie a shoe [title] Take  the laces [step] Cross them.",
                 "ctx_b": "a Boy from PARIS", "source_id": f"wikihow~{i}",
                 "ctx": "How to tie a shoe a Boy from PARIS",
                 "endings": [f"takes lace {i} [substeps] and pulls.", " pulls [title] both.",
                             "walks away  slowly.", "l\u00e4chelt dem caf\u00e9 zu."]}
                for i in range(12)]
        self.made("hellaswag", "hellaswag/hellaswag_val.jsonl", rows)

    def test_arc_easy(self):
        self.compare("arc_easy", arguments=self.data("arc"))

    def test_arc_easy_few_shot(self):
        self.few_shot("arc_easy", 3, "arc", "arc/arc_easy_validation.jsonl")

    def test_arc_challenge(self):
        self.compare("arc_challenge", arguments=self.data("arc"))

    def test_arc_challenge_few_shot(self):
        self.few_shot("arc_challenge", 5, "arc", "arc/arc_challenge_validation.jsonl")

    def test_openbookqa(self):
        self.compare("openbookqa", arguments=self.data("openbookqa"))

    def test_openbookqa_few_shot(self):
        self.few_shot("openbookqa", 3, "openbookqa", "openbookqa/validation.jsonl")

    @staticmethod
    def boolq():
        config = harness_config("boolq")
        config["doc_to_target"] = "{{answer|int}}"
        return config

    def test_boolq_is_cut_at_the_start(self):
        self.compare("boolq", arguments=self.data("boolq"), config=self.boolq())

    def test_boolq_few_shot(self):
        self.few_shot("boolq", 1, "boolq", config=self.boolq())

    def test_sciq(self):
        self.compare("sciq", arguments=self.data("sciq"))

    def test_sciq_few_shot(self):
        self.few_shot("sciq", 2, "sciq")

    @staticmethod
    def lambada():
        config = harness_config("lambada_openai")
        config["doc_to_text"] = "{{context}}"
        config["doc_to_target"] = "{{' ' + continuation}}"
        return config

    def test_lambada(self):
        self.compare("lambada_openai", arguments=self.data("lambada"), config=self.lambada())

    def test_lambada_few_shot(self):
        self.few_shot("lambada_openai", 2, "lambada", config=self.lambada())

    def test_wikitext(self):
        # In fp64: of an article's 10^5 nats the harness loses a thousandth when it adds up in fp32.
        self.compare("wikitext", arguments=[*self.data("wikitext-2"), "--precision", "fp64"],
                     limit=max(2, SETTINGS["limit"] // 20), dtype="float64")

    def made(self, task, place, rows, config=None, **options):
        """Compares on documents that the test makes up, written as they would be released."""
        path = self.dir / "data" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.compare(task, limit=len(rows), arguments=["--data-dir", self.dir / "data"],
                     documents=rows, config=config, **options)

    def test_piqa(self):
        draw = random.Random(0)
        rows = [{"goal": f"To make {draw.choice(['tea', 'a  fire', 'bread'])} {i}, what is needed?",
                 "sol1": draw.choice(["Boil  water.", "a fire\u00a0and wood ", "\u6c34"]),
                 "sol2": draw.choice(["Sleep.", "flour, yeast and (warm) water"]),
                 "label": draw.randrange(2)} for i in range(SETTINGS["limit"])]
        self.made("piqa", "piqa/valid.jsonl", rows)
        # The labels in a file of their own, as the public release has them.
        folder = self.dir / "data" / "piqa"
        for row in rows:
            row.pop("label")
        (folder / "valid.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        before = json.loads((self.dir / "results.json").read_text())["results"]["piqa"]
        labels = [json.loads(line)["target"]
                  for line in (self.dir / "samples_piqa.jsonl").read_text().splitlines()]
        (folder / "valid-labels.lst").write_text("\n".join(labels) + "\n")
        _, after = self.ours("shared", "piqa", len(rows), ["--data-dir", self.dir / "data"])
        self.assertEqual(before, after)

    def test_winogrande(self):
        draw = random.Random(1)
        rows = [{"sentence": f"The {draw.choice(['boy', 'dog'])} gave the ball to Mia because _ "
                             f"{draw.choice(['was tired', 'wanted it', 'laughed'])} {i} times.",
                 "option1": draw.choice(["the boy", "he", "the dog "]), "option2": "Mia",
                 "answer": draw.choice(["1", "2"])} for i in range(SETTINGS["limit"])]
        self.made("winogrande", "winogrande/dev.jsonl", rows)

    def test_winogrande_few_shot_from_its_own_documents(self):
        rows = [{"sentence": f"Tom saw Sue and _ waved {i} times at the tree.", "option1": "Tom",
                 "option2": "Sue", "answer": str(1 + i % 2)} for i in range(8)]
        path = self.dir / "data" / "winogrande" / "dev.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.compare("winogrande", limit=len(rows), few_shot=2, documents=rows,
                     arguments=["--data-dir", self.dir / "data"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ckv")
    parser.add_argument("--data", default=str(ROOT / ".." / "shared" / "data"))
    parser.add_argument("--limit", type=int, default=200)
    arguments, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        SETTINGS.update(ckv=arguments.ckv, data=arguments.data, limit=arguments.limit, work=folder)
        result = unittest.main(argv=[sys.argv[0], *rest], exit=False).result
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
