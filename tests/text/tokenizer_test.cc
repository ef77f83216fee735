#include "text/tokenizer.h"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "tests/temp_dir.h"
#include "text/char_tokenizer.h"
#include "text/train.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Some kilobytes of text with words that repeat in changing order.
std::string TrainingText() {
  const std::vector<std::string> words = {
      "the", "river", "old",         "house", "under", "Maria", "bread", "sings", "winter",
      "12",  "345",   "caf\xC3\xA9", "went",  "going", "gone",  "stone", "stones"};
  Random random(3);
  std::string text;
  for (int line = 0; line < 400; ++line) {
    for (int i = 0; i < 9; ++i) text += (i ? " " : "") + words[random.Below(words.size())];
    text += ".\n";
  }
  return text;
}

TextIterator Once(const std::string& text) {
  auto given = std::make_shared<bool>(false);
  return [given, text](std::string* out) {
    if (*given) return false;
    *given = true;
    *out = text;
    return true;
  };
}

std::string TrainedModel(const std::string& type, std::vector<std::string> symbols = {}) {
  SentencePieceOptions options;
  options.type = type;
  options.vocab_size = 310;
  options.user_symbols = std::move(symbols);
  return TrainSentencePiece(options, Once(TrainingText()));
}

// A tokenizer of each kind, through its file.
std::unique_ptr<Tokenizer> MakeTokenizer(const std::string& name, const TempDir& dir) {
  if (name == "byte") return LoadTokenizer("byte");
  const std::string path = dir.File(name);
  if (name == "char") {
    CharVocabularyBuilder builder;
    builder.Add(TrainingText());
    WriteFileAtomically(path, builder.Build(1000));
  } else {
    WriteFileAtomically(path, TrainedModel(name));
  }
  return LoadTokenizer(path);
}

class TokenizerTest : public ::testing::TestWithParam<const char*> {
 protected:
  TempDir dir_;
  std::unique_ptr<Tokenizer> tokenizer_ = MakeTokenizer(GetParam(), dir_);
};

// Random text of the characters that the training text has, plus, where every byte has a token,
// of any others (except U+2581, SentencePiece's own sign for a space).
std::string RandomText(Random* random, bool any_character) {
  const std::string known = "the river Maria.\n 5\xC3\xA9";
  std::string text;
  const uint64_t length = random->Below(40);
  for (uint64_t i = 0; i < length; ++i) {
    const uint64_t draw = random->Below(any_character ? 8 : 6);
    if (draw == 0) {
      text += ' ';
    } else if (draw == 1) {
      text += '\n';
    } else if (draw < 6) {
      const size_t at = random->Below(known.size() - 1);
      text += at >= known.size() - 2 ? std::string("\xC3\xA9") : std::string(1, known[at]);
    } else if (draw == 6) {
      text += std::vector<std::string>{"\t",           "\r\n",
                                       "  ",           "<s>",
                                       "\xE4\xB8\xAD", "\xF0\x9F\x98\x80",
                                       "\x01",         std::string(1, '\0')}[random->Below(8)];
    } else {
      const auto c = static_cast<char32_t>(1 + random->Below(0xD7FF));
      if (c != 0x2581) AppendUtf8(c, &text);
    }
  }
  return text;
}

TEST_P(TokenizerTest, DecodeUndoesEncode) {
  const bool any = std::string(GetParam()) != "char";
  Random random(11);
  for (int round = 0; round < 3000; ++round) {
    const std::string text = RandomText(&random, any);
    const std::vector<int32_t> ids = tokenizer_->Encode(text);
    for (const int32_t id : ids) ASSERT_TRUE(id >= 0 && id < tokenizer_->vocab_size());
    ASSERT_EQ(tokenizer_->Decode(ids), text);
  }
}

TEST_P(TokenizerTest, StreamingGivesTheSameTextInWholeCharacters) {
  Random random(12);
  for (int round = 0; round < 300; ++round) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 20; ++i) {
      ids.push_back(
          static_cast<int32_t>(random.Below(static_cast<uint64_t>(tokenizer_->vocab_size()))));
    }
    StreamingDecoder decoder(*tokenizer_);
    std::string text;
    for (const int32_t id : ids) {
      const std::string piece = decoder.Push(id);
      ASSERT_TRUE(IsValidUtf8(piece));
      text += piece;
    }
    text += decoder.Finish();
    ASSERT_EQ(text, tokenizer_->Decode(ids));
  }
}

TEST_P(TokenizerTest, CuttingAtALineEndChangesNothing) {
  Random random(13);
  for (int round = 0; round < 500; ++round) {
    const std::string a = RandomText(&random, false) + "\n";
    const std::string b = RandomText(&random, false);
    std::vector<int32_t> joined = tokenizer_->Encode(a);
    const std::vector<int32_t> rest = tokenizer_->EncodeAfterNewline(b);
    joined.insert(joined.end(), rest.begin(), rest.end());
    ASSERT_EQ(joined, tokenizer_->Encode(a + b)) << a << "|" << b;
  }
}

// Long texts are encoded in chunks; each line by line must give the same.
TEST_P(TokenizerTest, LongTextsAreTheirLinesJoined) {
  Random random(14);
  std::string text;
  std::vector<int32_t> expected;
  while (text.size() < 50000) {
    const std::string line = RandomText(&random, false) + "\n";
    const std::vector<int32_t> ids =
        text.empty() ? tokenizer_->Encode(line) : tokenizer_->EncodeAfterNewline(line);
    expected.insert(expected.end(), ids.begin(), ids.end());
    text += line;
  }
  EXPECT_EQ(tokenizer_->Encode(text), expected);
  EXPECT_EQ(tokenizer_->Decode(expected), text);
}

TEST_P(TokenizerTest, PiecesAreUniqueAndFound) {
  for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    EXPECT_EQ(tokenizer_->PieceToId(tokenizer_->IdToPiece(id)), id);
  }
  EXPECT_EQ(tokenizer_->PieceToId("no such piece"), -1);
  EXPECT_EQ(tokenizer_->ByteCost(tokenizer_->eos_id()), 0);
  EXPECT_EQ(tokenizer_->IdToPiece(tokenizer_->bos_id()), "<s>");
  EXPECT_EQ(tokenizer_->IdToPiece(tokenizer_->eos_id()), "</s>");
}

TEST_P(TokenizerTest, SavesIntoAFolderAndLoadsFromIt) {
  SaveTokenizer(*tokenizer_, dir_.path());
  const std::unique_ptr<Tokenizer> loaded = LoadTokenizer(dir_.path());
  EXPECT_EQ(loaded->Fingerprint(), tokenizer_->Fingerprint());
  EXPECT_EQ(loaded->Encode("the river"), tokenizer_->Encode("the river"));
}

TEST_P(TokenizerTest, RefusesIdsOutsideTheVocabulary) {
  const auto size = static_cast<int32_t>(tokenizer_->vocab_size());
  EXPECT_EQ(ErrorOf([&] { tokenizer_->Decode({size}); }),
            Str("2: token id ", size, " is outside the vocabulary of ", size));
  EXPECT_EQ(ErrorOf([&] { tokenizer_->IdToPiece(-1); }),
            Str("2: token id -1 is outside the vocabulary of ", size));
}

INSTANTIATE_TEST_SUITE_P(Kinds, TokenizerTest, ::testing::Values("byte", "char", "unigram", "bpe"),
                         [](const auto& kind) { return kind.param; });

TEST(SentencePieceTraining, GivesTheSameModelAgain) {
  EXPECT_EQ(TrainedModel("unigram"), TrainedModel("unigram"));
  EXPECT_EQ(TrainedModel("bpe"), TrainedModel("bpe"));
}

// NUL bytes, which end text for some libraries: the words after one count, and none is lost.
TEST(SentencePieceTraining, LearnsPastNulBytes) {
  std::string text = TrainingText();
  for (size_t at = text.find(' '); at != std::string::npos; at = text.find(' ', at + 40)) {
    text[at] = '\0';
  }
  SentencePieceOptions options;
  options.vocab_size = 310;
  const TempDir dir;
  WriteFileAtomically(dir.File("m"), TrainSentencePiece(options, Once(text)));
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir.File("m"));
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text);
  const std::string last_word = std::string("x\0 stones", 9);
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(last_word)), last_word);
  EXPECT_LE(tokenizer->Encode(" stones").size(), 2U) << "a frequent word is a token or two";
}

TEST(SentencePieceTraining, KeepsUserSymbolsAndDigitsWhole) {
  TempDir dir;
  WriteFileAtomically(dir.File("m.model"), TrainedModel("unigram", {"<sep>", "a,b"}));
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir.File("m.model"));
  EXPECT_GE(tokenizer->PieceToId("<sep>"), 0);
  EXPECT_GE(tokenizer->PieceToId("a,b"), 0);
  std::vector<std::string> pieces;
  for (const int32_t id : tokenizer->Encode("345<sep>")) pieces.push_back(tokenizer->IdToPiece(id));
  EXPECT_EQ(pieces.back(), "<sep>");
  for (const char* digit : {"3", "4", "5"}) EXPECT_THAT(pieces, ::testing::Contains(digit));
}

TEST(SentencePieceTraining, SamplesWithinItsBudget) {
  SentencePieceOptions options;
  options.vocab_size = 300;
  options.max_sample_bytes = 6000;
  const std::string model = TrainSentencePiece(options, Once(TrainingText()));
  EXPECT_EQ(model, TrainSentencePiece(options, Once(TrainingText())));
  options.seed = 1;
  EXPECT_NE(model, TrainSentencePiece(options, Once(TrainingText())));
}

TEST(SentencePieceTraining, RefusesWhatCannotBe) {
  SentencePieceOptions options;
  options.vocab_size = 100;
  EXPECT_EQ(ErrorOf([&] { TrainSentencePiece(options, Once("a")); }),
            "2: vocab_size: 100 is not possible; from 260 to 4000000 (259 ids are special and byte "
            "tokens)");
  options.vocab_size = 8000;
  EXPECT_THAT(ErrorOf([&] { TrainSentencePiece(options, Once(TrainingText())); }),
              StartsWith("2: tokenizer training: Vocabulary size too high (8000)."));
  EXPECT_EQ(ErrorOf([&] { TrainSentencePiece(options, Once("\n\n")); }),
            "3: tokenizer training: the texts are empty");
  options.user_symbols = {"[a]", "[b]", "[a]"};
  EXPECT_EQ(ErrorOf([&] { TrainSentencePiece(options, Once("a")); }),
            "2: user_symbols: '[a]' is given twice");
  options.user_symbols = {"<unk>"};
  EXPECT_EQ(ErrorOf([&] { TrainSentencePiece(options, Once("a")); }),
            "2: user_symbols: '<unk>' is in every vocabulary already");
  options.user_symbols.clear();
  options.type = "wordpiece";
  EXPECT_EQ(ErrorOf([&] { TrainSentencePiece(options, Once("a")); }),
            "2: type: 'wordpiece' is no kind of model; unigram or bpe");
}

TEST(LoadTokenizer, SaysWhatIsNotSupported) {
  TempDir dir;
  EXPECT_EQ(ErrorOf([&] { LoadTokenizer(dir.path()); }),
            Str("4: ", dir.path(), ": has no tokenizer.model, tokenizer.char or tokenizer.byte"));
  WriteFileAtomically(dir.File("tokenizer.json"), "{}");
  EXPECT_EQ(ErrorOf([&] { LoadTokenizer(dir.path()); }),
            Str("3: ", dir.path(),
                ": has tokenizer.json only, which is not supported; a SentencePiece model "
                "(tokenizer.model) is needed, or token ids instead of text"));
  EXPECT_THAT(ErrorOf([&] { LoadTokenizer(dir.File("tokenizer.json")); }),
              HasSubstr("Hugging Face's tokenizer.json is not supported"));
}

TEST(LoadTokenizer, RefusesBrokenFiles) {
  TempDir dir;
  const std::string path = dir.File("x.model");
  EXPECT_EQ(ErrorOf([&] { LoadTokenizer(path); }),
            Str("4: ", path, ": cannot open: No such file or directory"));
  WriteFileAtomically(path, "");
  EXPECT_EQ(ErrorOf([&] { LoadTokenizer(path); }),
            Str("3: ", path, ": is an empty file, not a SentencePiece model"));
  WriteFileAtomically(path, "{\"a\": 1}");
  EXPECT_EQ(ErrorOf([&] { LoadTokenizer(path); }),
            Str("3: ", path, ": is JSON, not a SentencePiece model"));
  WriteFileAtomically(path, "some words");
  EXPECT_THAT(ErrorOf([&] { LoadTokenizer(path); }),
              StartsWith(Str("3: ", path, ": is not a SentencePiece model (")));
  const std::string model = TrainedModel("unigram");
  WriteFileAtomically(path, model.substr(0, model.size() / 2));
  EXPECT_THAT(ErrorOf([&] { LoadTokenizer(path); }),
              StartsWith(Str("3: ", path, ": is not a SentencePiece model (")));
}

TEST(LoadTokenizer, NamesTheLineOfABrokenCharacterFile) {
  TempDir dir;
  const std::string path = dir.File("x.char");
  const auto error = [&](const std::string& content) {
    WriteFileAtomically(path, content);
    return ErrorOf([&] { LoadTokenizer(path); });
  };
  EXPECT_EQ(error("ckv-char-vocabulary 2\n0041\n"),
            Str("3: ", path, ": line 1: is 'ckv-char-vocabulary 2', not 'ckv-char-vocabulary 1'"));
  EXPECT_EQ(error("ckv-char-vocabulary 1\n0041\nzz\n"),
            Str("3: ", path, ": line 3: 'zz' is not the hexadecimal number of a code point"));
  EXPECT_EQ(error("ckv-char-vocabulary 1\nd800\n"),
            Str("3: ", path, ": line 2: 'd800' is not the hexadecimal number of a code point"));
  EXPECT_EQ(error("ckv-char-vocabulary 1\n0041\n0041\n"),
            Str("3: ", path, ": line 3: '0041' occurs twice"));
  EXPECT_EQ(error("ckv-char-vocabulary 1\n0041"),
            Str("3: ", path, ": line 2: the file ends within the line"));
}

TEST(CharTokenizer, MapsUnknownCharactersToUnk) {
  CharVocabularyBuilder builder;
  builder.Add("bbbaac");
  const std::unique_ptr<Tokenizer> tokenizer = NewCharTokenizer("x", builder.Build(5));
  EXPECT_EQ(tokenizer->vocab_size(), 5);  // <unk> <s> </s> b a
  EXPECT_EQ(tokenizer->Encode("abc"), (std::vector<int32_t>{4, 3, 0}));
  EXPECT_EQ(tokenizer->Decode({4, 3, 0}), "ab\xEF\xBF\xBD");
}

}  // namespace
}  // namespace ckv
