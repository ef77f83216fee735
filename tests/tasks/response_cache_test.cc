#include "tasks/response_cache.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

TEST(ResponseCache, KeepsAnswersUntilSettingsChange) {
  const TempDir dir;
  const std::string path = dir.File("a/b.jsonl");
  const OrderedJson settings = {{"task", "t"}};
  {
    ResponseCache cache(path, settings);
    EXPECT_EQ(cache.Find(3), nullptr);
    cache.Add(3, {{-1.5, true, ""}, {-1.0 / 3.0, false, "x\n"}});
    cache.Flush();
    ASSERT_NE(cache.Find(3), nullptr);
  }
  // A process that was killed while writing.
  WriteFileAtomically(path, ReadFile(path) + "{\"document\":4,\"ans");
  {
    ResponseCache cache(path, settings);
    const std::vector<TaskResponse>* answers = cache.Find(3);
    ASSERT_NE(answers, nullptr);
    ASSERT_EQ(answers->size(), 2u);
    EXPECT_EQ((*answers)[1].log_prob, -1.0 / 3.0);  // to the last bit
    EXPECT_EQ((*answers)[1].text, "x\n");
    EXPECT_TRUE((*answers)[0].greedy);
    EXPECT_EQ(cache.Find(4), nullptr);
    cache.Add(4, {{-2.0, false, ""}});
    cache.Flush();
  }
  EXPECT_NE(ResponseCache(path, settings).Find(4), nullptr);
  EXPECT_EQ(ResponseCache(path, {{"task", "u"}}).Find(3), nullptr);
  EXPECT_EQ(ResponseCache(path, settings).Find(3), nullptr);  // began anew
}

TEST(ResponseCache, ABrokenFileBeginsAnew) {
  const TempDir dir;
  const std::string path = dir.File("b.jsonl");
  const OrderedJson settings = {{"task", "t"}};
  WriteFileAtomically(path, settings.dump() + "\n{\"document\": 1}\n");
  EXPECT_EQ(ResponseCache(path, settings).Find(1), nullptr);
  EXPECT_EQ(ReadFile(path), settings.dump() + "\n");
}

}  // namespace
}  // namespace ckv
