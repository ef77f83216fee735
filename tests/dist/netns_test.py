#!/usr/bin/env python3
"""Three hosts on one machine: network namespaces joined by a bridge, one rank on each.

1. A run over the three equals, bit for bit, three ranks of one host.
2. One host's link is cut in the midst of a run: all ranks end within the time limit, with exit code 6
   and a message that names rank and step.
3. With the link back, the same command finishes the run, equal to the first.

Needs to make namespaces (root); says so and is skipped where that is not permitted.
"""

import argparse
import pathlib
import subprocess
import tempfile
import time

import runs

PORT = 29511
TIMEOUT = 20


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


class Network:
    """Hosts 0..n-1 at 10.213.7.1, .2, ...; names carry the process id."""

    def __init__(self, hosts, tag):
        self.names = [f"ckv{tag}h{i}" for i in range(hosts)]
        self.bridge = f"ckv{tag}b"
        self.links = [f"ckv{tag}l{i}" for i in range(hosts)]

    def __enter__(self):
        self.remove()
        ip("link", "add", self.bridge, "type", "bridge")
        ip("link", "set", self.bridge, "up")
        for i, (name, link) in enumerate(zip(self.names, self.links)):
            ip("netns", "add", name)
            ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", link, "master", self.bridge, "up")
            ip("-n", name, "addr", "add", f"10.213.7.{i + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        for name in self.names:
            ip("netns", "del", name, check=False)
        for link in [*self.links, self.bridge]:
            ip("link", "del", link, check=False)

    def cut(self, host):
        ip("link", "set", self.links[host], "down")

    def mend(self, host):
        ip("link", "set", self.links[host], "up")


def start(args, network, config, run):
    words = ["train", config, "--set", f"run.dir={run}", "--set", f"dist.timeout_s={TIMEOUT}",
             "--set", "dist.zero=1"]
    if network is None:
        return runs.by_hand(args.program, words, 3, runs.free_port())
    return runs.by_hand(args.program, words, 3, PORT, master="10.213.7.1",
                        wrap=lambda rank, command: ["ip", "netns", "exec", network.names[rank], *command])


def finish(processes, seconds):
    """(exit codes, what they said); kills what is not over in time."""
    deadline = time.monotonic() + seconds
    codes, texts = [], []
    for process in processes:
        try:
            _, text = process.communicate(timeout=max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            _, text = process.communicate()
            text += "\n(killed: it did not end in time)"
        codes.append(process.returncode)
        texts.append(text)
    return codes, texts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--steps", type=int, default=1500)
    args = parser.parse_args()
    args.program = str(pathlib.Path(args.program).resolve())
    tag = f"{subprocess.os.getpid() % 100000}"
    network = Network(3, tag)
    try:
        network.__enter__()
    except (subprocess.CalledProcessError, FileNotFoundError, PermissionError) as error:
        network.remove() if not isinstance(error, FileNotFoundError) else None
        reason = getattr(error, "stderr", "") or str(error)
        runs.skip(f"network namespaces cannot be made here: {reason.strip()}")
    try:
        with tempfile.TemporaryDirectory(prefix="ckv-netns-") as folder:
            config = runs.prepare(args.program, folder, args.steps, save_every=25)
            whole, hosts, cut = (pathlib.Path(folder) / name for name in ("whole", "hosts", "cut"))
            for run, over in ((whole, None), (hosts, network)):
                codes, texts = finish(start(args, over, config, run), 300)
                if codes != [0, 0, 0]:
                    runs.fail(f"{run}: exit codes {codes}: {texts}")
            runs.expect_equal(hosts, whole)

            processes = start(args, network, config, cut)
            while runs.last_step(cut) < 50 and processes[0].poll() is None:
                time.sleep(0.01)
            network.cut(2)
            moment = time.monotonic()
            codes, texts = finish(processes, TIMEOUT + 25)
            waited = time.monotonic() - moment
            if codes != [6, 6, 6]:
                runs.fail(f"after the cut: exit codes {codes}: {texts}")
            for rank, text in enumerate(texts):
                last = text.strip().split("\n")[-1]
                if f"rank {rank} of 3, step " not in last:
                    runs.fail(f"rank {rank} said only: {text}")
                print(f"  {last}")
            network.mend(2)
            codes, texts = finish(start(args, network, config, cut), 300)
            if codes != [0, 0, 0]:
                runs.fail(f"after the link was back: exit codes {codes}: {texts}")
            runs.expect_equal(cut, whole)
            print(f"3 hosts equal one; cut link noticed by all in {waited:.1f} s; finished equal")
    finally:
        network.remove()


if __name__ == "__main__":
    main()
