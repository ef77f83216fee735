#include "tasks/documents.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

class DocumentsTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) {
    WriteFileAtomically(dir_.File(name), text);
  }
  Documents Read(const std::string& name, const std::string& format = "auto",
                 const std::string& labels = "") {
    return ReadDocuments({"absent.jsonl", name}, {dir_.File("none"), dir_.path()}, format, labels);
  }

  TempDir dir_;
};

TEST_F(DocumentsTest, ReadsEachFormat) {
  Write("a.jsonl", "{\"x\": 1}\r\n\n{\"x\": 2}");
  EXPECT_EQ(Read("a.jsonl").items, (std::vector<Json>{{{"x", 1}}, {{"x", 2}}}));
  Write("b.json", " [{\"x\": 3}]");
  EXPECT_EQ(Read("b.json").items, (std::vector<Json>{{{"x", 3}}}));
  Write("c.txt", "a\nb\n");
  EXPECT_EQ(Read("c.txt").items, (std::vector<Json>{{{"text", "a\nb\n"}}}));
}

TEST_F(DocumentsTest, ArticlesBeginWithHeadingsOfTheFirstLevel) {
  Write("w.tokens", " \n = A = \n text \n = = Part = = \n more \n = B = \n last \n");
  const Documents found = Read("w.tokens", "wikitext");
  EXPECT_EQ(found.items, (std::vector<Json>{{{"page", " = A = \n text \n = = Part = = \n more "}},
                                            {{"page", " = B = \n last \n"}}}));
}

TEST_F(DocumentsTest, LabelsOfAFileGoWithDocumentsThatHaveNone) {
  Write("a.jsonl", "{\"x\": 1}\n{\"x\": 2, \"label\": \"own\"}\n");
  Write("l.lst", "1\nyes\n");
  const Documents found = Read("a.jsonl", "auto", "l.lst");
  EXPECT_EQ(found.items[0]["label"], 1);
  EXPECT_EQ(found.items[1]["label"], "own");
  Write("l.lst", "1\n");
  EXPECT_EQ(ErrorOf([&] { Read("a.jsonl", "auto", "l.lst"); }),
            Str("3: ", dir_.File("l.lst"), ": has 1 labels, but there are 2 documents"));
}

TEST_F(DocumentsTest, SaysWhatIsWrong) {
  EXPECT_EQ(ErrorOf([&] { Read("b.jsonl"); }),
            Str("4: absent.jsonl, b.jsonl: not found in ", dir_.File("none"), ", ", dir_.path(),
                " (name the data's folder with --data-dir)"));
  Write("a.jsonl", "{}\n[1]\n");
  EXPECT_EQ(ErrorOf([&] { Read("a.jsonl"); }),
            Str("3: ", dir_.File("a.jsonl"), ": line 2: is no JSON object"));
  Write("a.jsonl", "\n");
  EXPECT_EQ(ErrorOf([&] { Read("a.jsonl"); }),
            Str("3: ", dir_.File("a.jsonl"), ": has no documents"));
  Write("a.jsonl", "{\"x\": \"\xff\"}\n");
  EXPECT_EQ(ErrorOf([&] { Read("a.jsonl"); }),
            Str("3: ", dir_.File("a.jsonl"), ": byte 7: is not UTF-8"));
  Write("a.data", "{}\n");
  EXPECT_EQ(ErrorOf([&] { Read("a.data"); }).substr(0, 3), "3: ");
}

}  // namespace
}  // namespace ckv
