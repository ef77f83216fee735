"""scaling_check.py: measured steps beside estimates, with a program that tells what it was asked."""

import json
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "scaling_check.py"
# Ten times the efficiency as tokens/s; memory and bytes by stage.
PROGRAM = """#!/usr/bin/env python3
import json, sys
words = dict(zip(sys.argv[3::2], sys.argv[4::2]))
assert sys.argv[1] == "inspect" and words["--micro-batch"] == "8", sys.argv
stages = [{"zero": zero, "tokens_per_second": 1e7 * float(words["--efficiency"]) * int(words["--gpus"]),
           "memory": 1e9 * zero, "summed_bytes": 2e9, "scattered_bytes": 0.0, "gathered_bytes": 1e9 * zero}
          for zero in range(4)]
print(json.dumps({"ranks": {"stages": stages}}))
"""


def row(ranks, zero, rate):
    return [{"ranks": ranks, "zero": zero, "batch_size": 8 * ranks, "seq_len": 4, "flops_per_token": 989e6,
             "tokens_per_second": rate, "memory_bytes": 3e9,
             "step_bytes": {"summed": 1e9, "scattered": 2e9, "gathered": 5e8}}]


class ScalingCheckTest(unittest.TestCase):
    def check(self, files):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            program = folder / "program"
            program.write_text(PROGRAM)
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            for path, result in files.items():
                (folder / path).write_text(json.dumps(result))
            done = subprocess.run([sys.executable, SCRIPT, "--ckv", program, folder, "one=a.yaml", "two=b.yaml"],
                                  capture_output=True, text=True)
            return done.returncode, done.stdout.splitlines()[2:], done.stderr

    def test_the_efficiency_is_that_of_one_gpu(self):
        code, lines, error = self.check({
            "one-1-gpus-zero0.result": row(1, 0, 100e3),  # a tenth of the peak
            "one-2-gpus-zero3.result": row(2, 3, 150e3),
            "two-1-gpus-zero0.result": row(1, 0, 200e3),
            "two-10-gpus-zero1.result": row(10, 1, 300e3),
            "one-2-gpus-zero3.json": row(2, 2, 1.0),
        })
        self.assertEqual((code, error), (0, ""))
        self.assertEqual(lines, [
            "| one | 1 | 0 | 100k | 1000k | 3.0 | 0.0 | 3.50 | 2.00 |",
            "| one | 2 | 3 | 150k | 2000k | 3.0 | 3.0 | 3.50 | 5.00 |",
            "| two | 1 | 0 | 200k | 2000k | 3.0 | 0.0 | 3.50 | 2.00 |",
            "| two | 10 | 1 | 300k | 20000k | 3.0 | 1.0 | 3.50 | 3.00 |",
        ])

    def test_what_was_measured_is_told_without_it(self):
        code, lines, error = self.check({
            "one-2-gpus-zero3.result": row(2, 3, 150e3),
            "two-1-gpus-zero0.result": row(1, 0, 200e3),
        })
        self.assertEqual(code, 1)
        self.assertIn("no one-1-gpus-zero0.result", error)
        self.assertEqual(lines[0], "| one | 2 | 3 | 150k | - | 3.0 | - | 3.50 | - |")
        self.assertEqual(len(lines), 2)


if __name__ == "__main__":
    unittest.main()
