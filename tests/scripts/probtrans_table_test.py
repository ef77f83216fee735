"""experiments/probtrans/table.py: runs and earlier results in one table, later sources first."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "experiments" / "probtrans" / "table.py"


class TableTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        shutil.copy(SCRIPT, self.root)  # it writes beside itself

    def tearDown(self):
        self.folder.cleanup()

    def add_run(self, runs, name, accuracy):
        folder = self.root / runs / name
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({
            "task": "tagging", "encoder_parameters": 7, "epochs": 2, "seconds": 1.0,
            "sentences_per_second": 5.0, "valid": {"accuracy": accuracy},
            "test": {"x": {"accuracy": accuracy}},
        }))

    def table(self, *sources):
        done = subprocess.run([sys.executable, "table.py", *sources], cwd=self.root,
                              capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def test_earlier_results_and_runs_meet_seed_by_seed(self):
        self.add_run("first", "ewt-xpos-seed0", 0.5)
        self.add_run("first", "ewt-xpos-seed1", 0.7)
        self.add_run("first", "sst2-seed0", 0.25)
        self.assertEqual(self.table("first")[0], 0)
        self.add_run("second", "ewt-xpos-seed1", 0.9)
        code, text = self.table("results.json", "second")
        self.assertEqual(code, 0, text)
        self.assertIn("| ewt-xpos | accuracy | 2 | 2 | 70.00 ± 28.28 | 70.00 ± 28.28 |", text)
        self.assertIn("| sst2 | accuracy | 1 | 2 | 25.00 ± 0.00 |", text)
        self.assertEqual((self.root / "results.md").read_text(), text)

    def test_nothing_to_show_is_an_error(self):
        code, text = self.table("none")
        self.assertEqual(code, 1)
        self.assertIn("no runs with figures in none", text)


if __name__ == "__main__":
    unittest.main()
