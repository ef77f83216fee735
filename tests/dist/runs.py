"""What the scripts that train on several ranks share: a tiny run, its checkpoints, skipping."""

import array
import hashlib
import json
import os
import pathlib
import subprocess
import sys

SKIPPED = 77  # ctest's SKIP_RETURN_CODE


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def fail(text):
    print(f"FAILED: {text}")
    sys.exit(1)


def prepare(program, folder, steps, save_every, extra=""):
    """Writes data and a config into `folder`; returns the config's path."""
    folder = pathlib.Path(folder)
    text = folder / "text.txt"
    text.write_text("".join(f"line {i} of a short text, {i * i % 97} words in\n" for i in range(400)))
    subprocess.run(
        [program, "data", "prepare", text, "--tokenizer", "byte", "--out", folder / "set"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    config = folder / "run.yaml"
    config.write_text(
        "run: {device: cpu, threads: 1}\n"
        "model: {num_layers: 4, kv_sharing: 0_2_2_3, hidden_size: 16, intermediate_size: 24,\n"
        "        num_attention_heads: 2, forward_passes: 1, attention_dropout: 0.1}\n"
        f"data: {{train: {folder}/set, valid_percent: 5, seq_len: 12}}\n"
        f"train: {{steps: {steps}, batch_size: 4, save_every: {save_every}, log_every: 50,\n"
        "        ema_decay: 0.9, tensorboard: false, schedule: {warmup_steps: 10}}\n" + extra
    )
    return config


def latest(run):
    """The folder of the newest checkpoint, or None."""
    try:
        checkpoints = pathlib.Path(run) / "checkpoints"
        return checkpoints / (checkpoints / "latest").read_text().strip()
    except FileNotFoundError:
        return None


def last_step(run):
    folder = latest(run)
    return 0 if folder is None else int(folder.name.split("-")[1])


def digest(run):
    """Name to hash of all that a later session would read of the newest checkpoint, times apart."""
    result = {}
    for path in sorted(latest(run).iterdir()):
        if path.suffix == ".safetensors":
            result[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name == "state.json":
            result["data"] = json.dumps(json.loads(path.read_text())["data"], sort_keys=True)
    return result


def expect_equal(run, reference):
    got, want = digest(run), digest(reference)
    if last_step(run) != last_step(reference) or got != want:
        names = [name for name in want if got.get(name) != want[name]]
        fail(f"{run} ends at step {last_step(run)} and differs from {reference} in {names}")


def weights_of(folder, stem="model"):
    """Name to numbers of a checkpoint's fp64 tensors, whichever ranks wrote it."""
    weights = {}
    for path in folder.glob(f"{stem}*.safetensors"):
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        for name, item in json.loads(data[8:8 + size]).items():
            if name == "__metadata__":
                continue
            if item["dtype"] != "F64":
                fail(f"{name} is {item['dtype']}")
            begin, end = item["data_offsets"]
            weights[name] = array.array("d", data[8 + size + begin:8 + size + end])
    return weights


def by_hand(program, arguments, world, port, wrap=lambda rank, command: command, master="127.0.0.1",
            one_host=False, ranks=None):
    """Starts `world` ranks, or those of `ranks`, with RANK, WORLD_SIZE, ...; returns their processes.

    `one_host`: they know that they share this one, so that each takes a GPU of its own.
    """
    processes = []
    for rank in range(world) if ranks is None else ranks:
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        environment.update(
            RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR=master, MASTER_PORT=str(port)
        )
        if one_host:
            environment.update(LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world))
        processes.append(
            subprocess.Popen(
                wrap(rank, [str(program), *map(str, arguments)]),
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def free_port():
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
