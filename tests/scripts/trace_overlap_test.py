"""trace_overlap.py: what of NCCL's kernels passes beside others, from small traces made by hand."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "trace_overlap.py"


def kernel(name, begin, duration, category="kernel"):
    return {"ph": "X", "cat": category, "name": name, "ts": begin, "dur": duration}


class TraceOverlapTest(unittest.TestCase):
    def figures(self, events):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "trace.json"
            path.write_text(events if isinstance(events, str) else json.dumps({"traceEvents": events}))
            done = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True)
            return done.returncode, done.stdout.splitlines()[-1:], done.stderr

    def test_counts_time_that_both_fill_once(self):
        code, lines, _ = self.figures([
            kernel("gemm", 1000, 2000),
            kernel("add", 2500, 1500),  # within and behind gemm, on another stream
            kernel("ncclDevKernel_AllReduce_Sum_f32_RING_LL", 3000, 4000),
            kernel("gemm", 6000, 500),
            kernel("ncclDevKernel_AllGather_RING_LL", 9000, 1000),
            {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "ts": 0, "dur": 20000},
            kernel("Memset", 0, 20000, "gpu_memset"),
            {"ph": "i", "name": "mark", "ts": 5},
        ])
        self.assertEqual(code, 0)
        # 1-10 ms; NCCL 3-7, 9-10; others 1-4, 6-6.5; both 3-4, 6-6.5; neither 7-9.
        self.assertEqual(
            lines[0].split()[1:], ["9.00", "5.00", "3.50", "1.50", "30.0%", "2.00"]
        )

    def test_nothing_hidden(self):
        code, lines, _ = self.figures([kernel("gemm", 0, 1000), kernel("ncclKernel", 1000, 500)])
        self.assertEqual((code, lines[0].split()[1:]), (0, ["1.50", "0.50", "1.00", "0.00", "0.0%", "0.00"]))

    def test_the_bandwidth_leaves_waiting_out(self):
        def sent(name, begin, duration, into, out, dtype="Float"):
            args = {"In msg nelems": into, "Out msg nelems": out, "Group size": 2, "dtype": dtype}
            return dict(kernel(f"ncclDevKernel_{name}_RING", begin, duration), args=args)

        # 4 MB of a sum both ways in 20 us; half of 4 MB of bf16 in 5 us; half of 8 MB in 15 us: 10 MB
        # in 40 us. The fourth is too small to count.
        ranks = [
            [sent("AllGather", 50, 90, 10**6, 2 * 10**6, "BFloat16"), sent("AllReduce", 0, 20, 10**6, 10**6),
             sent("ReduceScatter", 150, 15, 2 * 10**6, 10**6), sent("AllReduce", 200, 7, 10, 10)],
            [sent("AllReduce", 0, 80, 10**6, 10**6), sent("AllGather", 130, 5, 10**6, 2 * 10**6, "BFloat16"),
             sent("ReduceScatter", 140, 25, 2 * 10**6, 10**6), sent("AllReduce", 190, 1, 10, 10)],
        ]
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder) / name for name in ("run.json", "run.rank1.json")]
            for path, events in zip(paths, ranks):
                path.write_text(json.dumps({"traceEvents": events}))
            done = subprocess.run([sys.executable, SCRIPT, *paths], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout.splitlines()[-1].split(), [str(paths[0]), "250", "GB/s"])
            alone = subprocess.run([sys.executable, SCRIPT, paths[0]], capture_output=True, text=True)
            self.assertNotIn("GB/s", alone.stdout)

    def test_a_trace_without_collectives(self):
        code, lines, _ = self.figures([kernel("gemm", 0, 1000)])
        self.assertEqual(code, 1)
        self.assertIn("no kernel of NCCL", lines[0])

    def test_what_is_no_trace(self):
        for text in ("{", "[1]", '{"events": []}'):
            code, _, error = self.figures(text)
            self.assertEqual(code, 3)
            self.assertIn("is no Chrome trace", error)


if __name__ == "__main__":
    unittest.main()
