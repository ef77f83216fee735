"""check_layers.py on made-up trees: each kind of fault is found with its place, good trees pass."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "check_layers.py"
sys.path.insert(0, str(ROOT / "scripts"))
import check_layers  # noqa: E402


class CheckLayersTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def write(self, path, text):
        file = self.root / "src" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run_script(self):
        return subprocess.run([sys.executable, SCRIPT, self.root], capture_output=True, text=True)

    def assert_fault(self, expected):
        result = self.run_script()
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn(expected, result.stdout)

    def test_allowed_includes_pass(self):
        self.write("base/error.h", "#pragma once\n#include <string>\n")
        self.write("kv/cache.h", '#include <torch/torch.h>\n#include "base/error.h"\n')
        self.write("app/main.cc", '#include "kv/cache.h"\n#include "ckv_version.h"\n')
        result = self.run_script()
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_edge_outside_the_table(self):
        self.write("base/a.cc", '// one\n#include "kv/cache.h"\n')
        self.assert_fault("src/base/a.cc:2: #include kv/cache.h: 'base' may not include 'kv'")

    def test_torch_in_a_torch_free_folder(self):
        self.write("sharing/spec.h", "#include <ATen/ATen.h>\n")
        self.assert_fault("src/sharing/spec.h:1: #include ATen/ATen.h: 'sharing' must build")

    def test_nothing_that_app_holds_is_included_below(self):
        self.write("train/trainer.cc", '#include "app/cli.h"\n')
        self.assert_fault("src/train/trainer.cc:1")

    def test_unknown_folder(self):
        self.write("extra/a.cc", "#include <string>\n")
        self.assert_fault("src/extra/a.cc:1: folder 'extra' is not in the table")

    def test_include_of_an_unknown_folder(self):
        self.write("app/a.cc", '#include "extra/a.h"\n')
        self.assert_fault("src/app/a.cc:1: #include extra/a.h: folder 'extra'")

    def test_path_without_folder(self):
        self.write("base/a.cc", '#include "error.h"\n')
        self.assert_fault('src/base/a.cc:1: #include error.h: write the path from src/')

    def test_headers_that_include_each_other(self):
        self.write("base/a.h", '#include "base/b.h"\n')
        self.write("base/b.h", '\n#include "base/a.h"\n')
        self.assert_fault("headers include each other: base/a.h -> base/b.h -> base/a.h")

    def test_cycle_in_the_table(self):
        self.write("a/a.h", "")
        faults = check_layers.check_tree(self.root, {"a": ["b"], "b": ["a"]}, set())
        self.assertEqual(faults, ["the table itself has a cycle: a -> b -> a"])


if __name__ == "__main__":
    unittest.main()
