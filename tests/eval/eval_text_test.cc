#include "eval/eval_text.h"

#include <gtest/gtest.h>

#include "data/prepare.h"
#include "tests/temp_dir.h"
#include "text/train.h"

namespace ckv {
namespace {

constexpr char kTwoLines[] = " the cat sat \n on  the mat\n";

TextCounts CountsOf(const std::vector<std::string>& pieces) {
  TextCounter counter;
  for (const std::string& piece : pieces) counter.Add(piece);
  counter.EndDocument();
  return counter.counts();
}

TEST(TextCounter, CountsBytesWordsAndLineEnds) {
  const TextCounts counts = CountsOf({kTwoLines});
  EXPECT_EQ(counts.bytes, 27);
  EXPECT_EQ(counts.words, 6);
  EXPECT_EQ(counts.line_ends, 2);
}

TEST(TextCounter, AWordMayGoOverPieces) {
  const TextCounts counts = CountsOf({" the c", "at ", "sat \n on  t", "he", " mat\n"});
  EXPECT_EQ(counts.bytes, 27);
  EXPECT_EQ(counts.words, 6);
}

TEST(TextCounter, TheEndOfADocumentEndsWordAndLine) {
  TextCounter counter;
  counter.Add("a");
  counter.EndDocument();
  counter.Add("b");
  counter.EndDocument();
  EXPECT_EQ(counter.counts().words, 2);
  EXPECT_EQ(counter.counts().line_ends, 2);
}

TEST(TextCounter, NonBreakingSpaceBelongsToAWord) {
  EXPECT_EQ(CountsOf({"a\xC2\xA0"
                      "b\tc\vd"})
                .words,
            3);
}

// The same text as a file and as a data set, of three documents.
class EvalTextTest : public ::testing::Test {
 protected:
  EvalTextTest() : tokenizer_(LoadTokenizer("byte")) {
    WriteFileAtomically(file_, Str(kTwoLines, "<|endoftext|>\nx y\n<|endoftext|>\nlast"));
    PrepareOptions options;
    options.inputs = {file_};
    options.out = folder_.File("set");
    PrepareTokens(options, *tokenizer_);
  }

  EvalText FromFile() const { return ReadEvalText(file_, *tokenizer_, false); }
  EvalText FromDataset() const {
    return EvalText(std::make_shared<TokenDataset>(folder_.File("set"), nullptr, true));
  }

  TempDir folder_;
  std::string file_ = folder_.File("a.txt");
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(EvalTextTest, AFileGivesTheTokensOfItsDataSet) {
  const EvalText file = FromFile();
  const EvalText set = FromDataset();
  ASSERT_EQ(file.num_tokens(), set.num_tokens());
  std::vector<int64_t> of_file(static_cast<size_t>(file.num_tokens()));
  std::vector<int64_t> of_set(of_file.size());
  file.Read(0, file.num_tokens(), of_file.data());
  set.Read(0, set.num_tokens(), of_set.data());
  EXPECT_EQ(of_file, of_set);
  EXPECT_EQ(file.DocumentStarts(0, file.num_tokens()), set.DocumentStarts(0, set.num_tokens()));
  EXPECT_EQ(file.DocumentStarts(0, file.num_tokens()).size(), 3u);
  EXPECT_EQ(file.DocumentStarts(1, 28), (std::vector<int64_t>{27}));
}

TEST_F(EvalTextTest, AllTargetsStandForTheWholeText) {
  for (const EvalText& text : {FromFile(), FromDataset()}) {
    const auto counts = text.CountsOfTargets(text.num_tokens() - 1, tokenizer_.get());
    ASSERT_TRUE(counts.has_value());
    EXPECT_EQ(counts->bytes, 33);
    EXPECT_EQ(counts->words, 9);
    EXPECT_EQ(counts->line_ends, 4);  // one, and the end of each document
  }
}

// Targets 1..12 of the bytes " the cat sat \n...": "the cat sat".
TEST_F(EvalTextTest, PartOfTheTargetsIsCountedByItsTokens) {
  for (const EvalText& text : {FromFile(), FromDataset()}) {
    const auto counts = text.CountsOfTargets(11, tokenizer_.get());
    ASSERT_TRUE(counts.has_value());
    EXPECT_EQ(counts->bytes, 11);
    EXPECT_EQ(counts->words, 3);
    EXPECT_EQ(counts->line_ends, 0);
    EXPECT_EQ(text.CountsOfTargets(13, tokenizer_.get())->line_ends, 1);
  }
}

TEST_F(EvalTextTest, WithoutTokenizerOnlyTheWholeIsKnown) {
  const EvalText text = FromDataset();
  EXPECT_FALSE(text.CountsOfTargets(11, nullptr).has_value());
  const auto counts = text.CountsOfTargets(text.num_tokens() - 1, nullptr);
  ASSERT_TRUE(counts.has_value());
  EXPECT_EQ(counts->words, 9);
  EXPECT_FALSE(counts->line_ends.has_value());
}

TEST_F(EvalTextTest, BeginningsOfSentenceAreNoText) {
  const EvalText text = ReadEvalText(file_, *tokenizer_, /*bos=*/true);
  EXPECT_EQ(text.num_tokens(), FromFile().num_tokens() + 3);
  int64_t first = -1;
  text.Read(0, 1, &first);
  EXPECT_EQ(first, tokenizer_->bos_id());
  EXPECT_EQ(text.CountsOfTargets(12, tokenizer_.get())->bytes, 12);
}

TEST_F(EvalTextTest, RefusesAFileWithoutText) {
  const std::string empty = folder_.File("empty.txt");
  WriteFileAtomically(empty, "\n  \n");
  EXPECT_EQ(ErrorOf([&] { ReadEvalText(empty, *tokenizer_, false); }),
            Str("3: ", empty, ": has no text"));
}

// A SentencePiece model puts a space in front of each document that is none of the text's.
TEST(EvalTextCounts, LeaveOutTheSpaceThatTheTokenizerAdds) {
  const TempDir folder;
  SentencePieceOptions options;
  options.vocab_size = 280;
  int lines = 0;
  WriteFileAtomically(folder.File("x.model"), TrainSentencePiece(options, [&](std::string* line) {
                        *line = Str("cats and dogs and ", lines % 7, " more dogs\n");
                        return ++lines < 200;
                      }));
  const auto tokenizer = LoadTokenizer(folder.File("x.model"));
  ASSERT_TRUE(tokenizer->strips_first_space());
  WriteFileAtomically(folder.File("a.txt"), "dogs and\n<|endoftext|>\n cats and more\n");
  const EvalText text = ReadEvalText(folder.File("a.txt"), *tokenizer, /*bos=*/true);
  // All but the last token, </s>: the text, counted by its tokens.
  const auto counts = text.CountsOfTargets(text.num_tokens() - 2, tokenizer.get());
  ASSERT_TRUE(counts.has_value());
  EXPECT_EQ(counts->bytes, 8 + 15);
  EXPECT_EQ(counts->words, 5);
  const auto whole = text.CountsOfTargets(text.num_tokens() - 1, tokenizer.get());
  EXPECT_EQ(whole->bytes, 8 + 15);
  EXPECT_EQ(whole->words, 5);
}

}  // namespace
}  // namespace ckv
