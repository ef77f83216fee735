"""sum_tests.py: GoogleTest programs count with their tests, other entries once, crashes as failures."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "sum_tests.py"

CTEST = """<testsuite tests="5">
<testcase name="a_test" status="fail"><failure message=""/></testcase>
<testcase name="crash_test" status="fail"><failure message="SEGFAULT"/></testcase>
<testcase name="format" status="run"/>
<testcase name="shell" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/></testcase>
<testcase name="killed_after_report_test" status="fail"><failure message="leak"/></testcase>
</testsuite>"""

MIXED = """<testsuites><testsuite>
<testcase name="Passes" status="run" result="completed"/>
<testcase name="Fails" status="run" result="completed"><failure message="x"/></testcase>
<testcase name="Skips" status="run" result="skipped"><skipped message="no device"/></testcase>
<testcase name="FilteredOut" status="notrun" result="suppressed"/>
</testsuite></testsuites>"""

GOOD = """<testsuites><testsuite>
<testcase name="Passes" status="run" result="completed"/>
</testsuite></testsuites>"""


class SumTestsTest(unittest.TestCase):
    def test_all_kinds_of_results(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "ctest.junit").write_text(CTEST)
            (folder / "a_test.xml").write_text(MIXED)
            (folder / "killed_after_report_test.xml").write_text(GOOD)
            command = [sys.executable, SCRIPT, folder, folder]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
        # Per folder: 1 + 1 + 1 passed, 1 + 1 + 1 failed, 1 + 1 skipped.
        self.assertEqual(result.stdout, "6 passed, 6 failed, 4 skipped\n")


if __name__ == "__main__":
    unittest.main()
