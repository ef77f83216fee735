// `ckv sweep`, `ckv report` and `ckv compare`: twelve points, of which one diverges and one is
// killed, through a stop of the whole sweep.
#include <signal.h>

#include <chrono>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/app/run_program.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

constexpr int kPoints = 12;

class SweepCommandTest : public ::testing::Test {
 protected:
  SweepCommandTest() {
    std::string text;
    for (int i = 0; i < 60; ++i) text += Str("line ", i, " of a short text\n");
    WriteFileAtomically(File("text.txt"), text);
    EXPECT_EQ(
        RunCkv({"data", "prepare", File("text.txt"), "--tokenizer", "byte", "--out", File("set")})
            .exit_code,
        0);
    WriteFileAtomically(
        File("run.yaml"),
        Str("run: {device: cpu, threads: 1}\n",
            "model: {num_layers: 4, hidden_size: 16, intermediate_size: 24,\n",
            "        num_attention_heads: 2, max_position_embeddings: 64}\n",
            "data: {train: ", File("set"), ", valid_percent: 10, seq_len: 12}\n",
            "train: {steps: 20, batch_size: 2, eval_every: 10, log_every: 5, save_every: 10,\n",
            "        tensorboard: false, schedule: {warmup_steps: 2}}\n"));
    std::string points;
    const char* const layouts[] = {"0_1_2_3", "0_0_2_2", "0_2_2_3"};
    for (int i = 0; i < kPoints; ++i) {
      points +=
          Str("      - {label: p", i, ", set: {model.kv_sharing: ", layouts[i % 3],
              ", train.optim.lr: ", i == 4 ? "1.0e+30" : Str("1.0e-", 2 + i / 6),
              ", train.label_smoothing: 0.0", i, i == 7 ? ", train.steps: 40000" : "", "}}\n");
    }
    WriteFileAtomically(
        File("sweep.yaml"),
        Str("name: tiny\ndir: ", File("out"), "\nconfig: ", File("run.yaml"),
            "\naxes:\n  - name: point\n    points:\n", points,
            "stages:\n  - name: text\n    command: [eval, perplexity, '{run}', --device, cpu, "
            "--data, ",
            File("text.txt"), ", --max-tokens, 100, --json, --out, '{out}']\n",
            "parallel: 2\nthreads: 1\nbaseline: p0\n"));
  }

  std::string File(const std::string& name) const { return dir_.File(name); }

  ProgramResult Sweep(const std::vector<std::string>& more = {},
                      const ProgramLimits& limits = {}) const {
    std::vector<std::string> words = {CKV_PROGRAM, "sweep", File("sweep.yaml")};
    words.insert(words.end(), more.begin(), more.end());
    return RunProcess(words, limits);
  }

  // Folders of the points, by label.
  std::map<std::string, std::string> Folders() const {
    const Json json =
        ParseJson(RunCkv({"sweep", File("sweep.yaml"), "--dry-run", "--json"}).out, "dry run");
    std::map<std::string, std::string> folders;
    for (const Json& point : json["points"]) {
      folders[point["label"].get<std::string>()] =
          File("out/runs/" + point["id"].get<std::string>());
    }
    return folders;
  }

  std::map<std::string, std::string> Statuses() const {
    const Json json =
        ParseJson(RunCkv({"sweep", File("sweep.yaml"), "--dry-run", "--json"}).out, "dry run");
    std::map<std::string, std::string> statuses;
    for (const Json& point : json["points"]) {
      statuses[point["label"].get<std::string>()] = point["status"].get<std::string>();
    }
    return statuses;
  }

  TempDir dir_;
};

TEST_F(SweepCommandTest, GoesOnAfterAStopAndRecordsWhatFails) {
  const std::map<std::string, std::string> folders = Folders();
  ASSERT_EQ(folders.size(), static_cast<size_t>(kPoints));

  // Stopped when the third point is done.
  ProgramLimits limits;
  limits.signal_number = SIGTERM;
  limits.signal_at = folders.at("p2") + "/result.json";
  const ProgramResult stopped = Sweep({}, limits);
  EXPECT_EQ(stopped.exit_code, 143) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("the same command goes on"));
  const std::map<std::string, std::string> between = Statuses();
  EXPECT_EQ(between.at("p0"), "done");
  EXPECT_EQ(between.at("p11"), "waiting");
  const auto modified = [&](const std::string& label) {
    return ReadFile(folders.at(label) + "/run.json");
  };
  const std::string first = modified("p0");

  // Goes on; the long point is killed on its way.
  std::thread killer([&] {
    const std::string run = folders.at("p7") + "/run.json";
    for (int i = 0; i < 12000; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      if (!FileExists(folders.at("p7") + "/checkpoints/latest")) continue;
      const Json json = ReadJsonFile(run);
      ::kill(json["sessions"].back()["pid"].get<int>(), SIGKILL);
      return;
    }
  });
  const ProgramResult done = Sweep();
  killer.join();
  EXPECT_EQ(done.exit_code, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("10 of 12 points done, 2 failed"));
  EXPECT_EQ(modified("p0"), first);  // known by its configuration, not run again
  for (const auto& [label, status] : Statuses()) {
    EXPECT_EQ(status, label == "p4"   ? "train diverged"
                      : label == "p7" ? "train killed"
                                      : "done")
        << label;
  }

  // Another start goes on with the killed point only, as the dry run says.
  const auto to_train = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"sweep", File("sweep.yaml"), "--dry-run", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return RunCkvJson(words)["to_train"].get<int>();
  };
  EXPECT_EQ(to_train({}), 1);
  EXPECT_EQ(to_train({"--retry"}), 2);
  EXPECT_EQ(to_train({"--point", "3", "--point", "7"}), 1);
  const std::string diverged = modified("p4");
  ProgramLimits soon;
  soon.signal_number = SIGTERM;
  soon.signal_when = [&] {  // the point's second session has begun
    return ReadJsonFile(folders.at("p7") + "/run.json")["sessions"].size() == 2;
  };
  EXPECT_EQ(Sweep({}, soon).exit_code, 143);
  EXPECT_EQ(modified("p4"), diverged);
  EXPECT_EQ(ReadJsonFile(folders.at("p7") + "/run.json")["sessions"].size(), 2u);

  // The report of what there is.
  const Json report = RunCkvJson({"report", File("out")});
  EXPECT_EQ(report["points"], kPoints);
  const std::string html = ReadFile(File("out/report.html"));
  EXPECT_THAT(html, HasSubstr("diverged"));
  EXPECT_THAT(html, HasSubstr("<svg"));
  const std::string csv = ReadFile(File("out/results.csv"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), kPoints + 1);
  EXPECT_THAT(csv, HasSubstr("text word_perplexity"));
  EXPECT_THAT(ReadFile(File("out/report.md")), HasSubstr("| p0 (baseline) |"));

  // Two of its runs.
  const Json compared =
      RunCkvJson({"compare", folders.at("p0"), folders.at("p1"), "--html", File("c.html")});
  std::set<std::string> keys;
  for (const Json& item : compared["config"]) keys.insert(item["key"].get<std::string>());
  EXPECT_EQ(keys.count("model.kv_sharing"), 1u);
  EXPECT_EQ(keys.count("model.num_layers"), 0u);
  EXPECT_THAT(ReadFile(File("c.html")), HasSubstr("Validation loss"));
}

TEST_F(SweepCommandTest, WhatWouldShowAfterHoursIsRefusedAtOnce) {
  const auto error = [&](const std::vector<std::string>& more) {
    const ProgramResult result = Sweep(more);
    return Str(result.exit_code, " ", result.err);
  };
  EXPECT_THAT(error({"--set", "baseline=nobody"}), HasSubstr("no point is called so"));
  EXPECT_THAT(error({"--set", "stages=[{name: x, command: [evil, '{run}']}]"}),
              HasSubstr("calls 'ckv evil', but there is no such command"));
  EXPECT_THAT(error({"--point", "12"}), HasSubstr("2 error: --point: 12, but there are 12 points"));
  EXPECT_THAT(error({"--dry-run", "--slurm", File("job.sh")}),
              HasSubstr("--dry-run excludes --slurm"));
  EXPECT_FALSE(FileExists(File("out")));
}

TEST_F(SweepCommandTest, DryRunShowsSizesAndLeavesNoTrace) {
  const Json json = ParseJson(
      RunCkv({"sweep", File("sweep.yaml"), "--dry-run", "--json", "--set", "flops_per_second=1e9"})
          .out,
      "dry run");
  ASSERT_EQ(json["points"].size(), static_cast<size_t>(kPoints));
  const Json& plain = json["points"][0];
  const Json& shared = json["points"][1];
  EXPECT_EQ(plain["tokens"], 20 * 2 * 12);
  EXPECT_GT(plain["parameters"].get<double>(), shared["parameters"].get<double>());
  // Half of the layers own keys and values.
  EXPECT_EQ(plain["kv_resident_bytes"].get<double>(),
            2.0 * shared["kv_resident_bytes"].get<double>());
  EXPECT_NEAR(plain["seconds"].get<double>(), plain["train_flops"].get<double>() / 1e9, 1e-9);
  EXPECT_FALSE(FileExists(File("out")));
  const ProgramResult slurm = RunCkv({"sweep", File("sweep.yaml"), "--slurm", File("a.sh")});
  EXPECT_EQ(slurm.exit_code, 0) << slurm.err;
  EXPECT_THAT(ReadFile(File("a.sh")), HasSubstr("--array=0-11"));
}

TEST(ShippedSweeps, AreReadFromTheFolderOfTheRepository) {
  for (const char* name : {"sweep", "seeds"}) {
    const ProgramResult shown =
        RunProcess({"/bin/sh", "-c",
                    Str("cd '", CKV_SOURCE_DIR, "' && '", CKV_PROGRAM,
                        "' sweep experiments/first-study/", name, ".yaml --dry-run --json")});
    ASSERT_EQ(shown.exit_code, 0) << shown.err;
    EXPECT_GE(ParseJson(shown.out, name)["points"].size(), 14u);
  }
}

TEST_F(SweepCommandTest, SaysWhatIsWrong) {
  const auto error = [&](int code, const std::vector<std::string>& more) {
    std::vector<std::string> words = {"sweep", File("sweep.yaml"), "--dry-run"};
    words.insert(words.end(), more.begin(), more.end());
    return CkvError(code, words);
  };
  EXPECT_THAT(error(kExitConfig, {"--set", "paralel=2"}), HasSubstr("did you mean 'parallel'?"));
  EXPECT_THAT(error(kExitConfig, {"--set", "set={model.layrs: 3}"}), HasSubstr("model.layrs"));
  EXPECT_THAT(error(kExitConfig, {"--set", "constraints=['train.steps > 1000000']"}),
              HasSubstr("no point is left"));
  EXPECT_THAT(CkvError(kExitIo, {"report", File("none")}), HasSubstr("there is no such file"));
  EXPECT_THAT(CkvError(kExitFormat, {"report", dir_.path()}), HasSubstr("is no sweep's folder"));
  EXPECT_THAT(CkvError(kExitFormat, {"compare", dir_.path(), dir_.path()}),
              HasSubstr("is no folder of a run"));
}

}  // namespace
}  // namespace ckv
