"""Prints the table of README from what run.sh left in RUNS, and writes results.json beside this."""
import json
import pathlib
import sys

runs = pathlib.Path(sys.argv[1])
rows = []
for name in ["vanilla", "cla2", "sandwich-middle", "sandwich-top"]:
    train = json.loads((runs / name / "result.json").read_text())
    row = {
        "run": name,
        "kv_sharing": train["kv_sharing"],
        "parameters": train["parameters"],
        "tokens": train["tokens"],
    }
    for split in ["valid", "test"]:
        figures = json.loads((runs / name / f"{split}.json").read_text())
        row[f"{split}_word_perplexity"] = round(figures["parallel"]["word_perplexity"], 2)
        row[f"{split}_token_perplexity"] = round(figures["parallel"]["token_perplexity"], 2)
    rows.append(row)

(pathlib.Path(__file__).parent / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
print("| model | kv_sharing | parameters | word perplexity, valid | test |")
print("|---|---|---:|---:|---:|")
for row in rows:
    print(
        f"| {row['run']} | `{row['kv_sharing']}` | {row['parameters'] / 1e6:.2f}M "
        f"| {row['valid_word_perplexity']:.1f} | {row['test_word_perplexity']:.1f} |"
    )
