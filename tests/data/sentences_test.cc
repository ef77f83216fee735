#include "data/sentences.h"

#include <cstdio>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "data/spans.h"
#include "data/word_vocabulary.h"
#include "tests/goldens.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

class SentencesTest : public ::testing::Test {
 protected:
  std::vector<Sentence> Read(const std::string& content, const SentenceFormat& format) {
    const std::string path = dir_.File("input");
    WriteFileAtomically(path, content);
    return ReadSentences(path, format);
  }
  std::string Fault(const std::string& content, const SentenceFormat& format) {
    return ErrorOf([&] { Read(content, format); });
  }
  static SentenceFormat Of(const std::string& name) {
    SentenceFormat format;
    format.format = name;
    return format;
  }

  TempDir dir_;
};

TEST_F(SentencesTest, ConlluSkipsCommentsRangesAndEmptyNodes) {
  const std::string text =
      "# sent_id = 1\n"
      "1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n"
      "1\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_\n"
      "2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_\n"
      "2.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_\n"
      "\n\n"
      "1\t10 000\t_\tNUM\tCD\t_\t0\troot\t_\t_\r\n";
  std::vector<Sentence> sentences = Read(text, Of("conllu"));
  ASSERT_EQ(sentences.size(), 2u);
  EXPECT_EQ(sentences[0].words, (Words{"do", "n't"}));
  EXPECT_EQ(sentences[0].labels, (std::vector<Words>{{"VBP", "RB"}}));
  EXPECT_EQ(sentences[1].words, (Words{"10 000"}));
  SentenceFormat upos = Of("conllu");
  upos.column = "upos";
  upos.lowercase = true;
  EXPECT_EQ(Read(text, upos)[0].labels[0], (Words{"AUX", "PART"}));
}

TEST_F(SentencesTest, BrokenFilesAreNamedByLine) {
  EXPECT_THAT(Fault("1\tdo\n", Of("conllu")), HasSubstr("input: line 1: has 2 columns"));
  EXPECT_THAT(Fault("x\ta\t_\t_\t_\t_\t_\t_\t_\t_\n", Of("conllu")), HasSubstr("'x' is no id"));
  EXPECT_THAT(Fault("\n\n", Of("conllu")), HasSubstr("has no sentences"));
  EXPECT_THAT(Fault("a\xff b\n", Of("text")), HasSubstr("line 1: is not UTF-8"));
  EXPECT_THAT(Fault("EU\n", Of("conll")), HasSubstr("line 1: has 1 column: there is no label"));
  EXPECT_THAT(Fault("-DOCSTART- O\n\nEU NNP I-ORG\nran VBD\n", Of("conll")),
              HasSubstr("line 4: has 2 columns, but line 3 has 3"));
  EXPECT_THAT(Fault("text\tlabel\nonly text\n", Of("tsv")), HasSubstr("line 2: has 1 column"));
  EXPECT_THAT(Fault("(3 (2 a) (2 b)\n", Of("trees")), HasSubstr("line 1, column 15"));
  EXPECT_THAT(Fault("a b\n", Of("cogs")), HasSubstr("line 1: has 1 column between tabs"));
  EXPECT_THAT(Fault("a  b\tLAMBDA\tk\n", Of("cogs")), HasSubstr("blanks that do not stand"));
  EXPECT_THAT(Fault("1 a _ _ _ _ _ _ _ _\n", Of("conllu")), HasSubstr("10 between tabs"));
  EXPECT_THAT(Fault("1\t\t_\t_\t_\t_\t_\t_\t_\t_\n", Of("conllu")), HasSubstr("no word form"));
  EXPECT_THAT(Fault("text\tlabel\na\t\n", Of("tsv")), HasSubstr("line 2: has no label"));
  EXPECT_THAT(Fault("good\tpos\nbad\tneg\nfine\tpos\n", Of("tsv")),
              HasSubstr("line 3: has the label 'pos' of line 1, which is no header"));
  EXPECT_THAT(Fault("a b\tx ( x _ 7 )\tk\n", Of("cogs")), HasSubstr("'x _ 7' is no word"));
}

// As other programs and systems write them.
TEST_F(SentencesTest, MarksAndLineEndsDoNotMatter) {
  const std::string mark = "\xEF\xBB\xBF";
  const auto conllu = Read(mark +
                               "# a\r\n1\tA\t_\tDET\t_\t_\t_\t_\t_\t_\r\n\r\n"
                               "1\tB\t_\tX\t_\t_\t_\t_\t_\t_",
                           Of("conllu"));
  ASSERT_EQ(conllu.size(), 2u);
  EXPECT_EQ(conllu[0].words, (Words{"A"}));
  EXPECT_EQ(conllu[1].words, (Words{"B"}));
  const auto table = Read(mark + "label\tsentence\r\n1\tso  good\r\n\r\n0\tbad\r\n", [] {
    SentenceFormat format = Of("tsv");
    format.text_column = "sentence";
    format.label_column = "label";
    return format;
  }());
  ASSERT_EQ(table.size(), 2u);
  EXPECT_EQ(table[0].words, (Words{"so", "good"}));
  EXPECT_EQ(table[1].labels[0], (Words{"0"}));
  const auto cogs = Read(
      "A cat ran .\tcat ( x _ 1 ) AND run . agent ( x _ 2 , x _ 1 )\r\n"
      "touch\tLAMBDA a . LAMBDA b . touch . agent ( b , a )\tprimitive\r\n",
      Of("cogs"));
  ASSERT_EQ(cogs.size(), 2u);
  EXPECT_EQ(cogs[0].kind, "");
  EXPECT_EQ(cogs[0].labels[0], (Words{"none", "1", "none", "none"}));
  EXPECT_EQ(cogs[1].kind, "primitive");
  EXPECT_EQ(cogs[1].labels[4], (Words{"touch"}));
}

TEST_F(SentencesTest, ConllColumnsAndEntityTags) {
  const std::string text =
      "-DOCSTART- -X- -X- O\n\n"
      "EU NNP B-NP I-ORG\nrejects VBZ B-VP O\nNew NNP B-NP I-LOC\nYork NNP I-NP I-LOC\n\n"
      "Peter NNP B-NP B-PER\nBlackburn NNP I-NP I-PER\nJohn NNP I-NP B-PER\n";
  SentenceFormat format = Of("conll");
  EXPECT_EQ(Read(text, format)[0].labels[0], (Words{"I-ORG", "O", "I-LOC", "I-LOC"}));
  format.tags = "bioes";
  const std::vector<Sentence> sentences = Read(text, format);
  ASSERT_EQ(sentences.size(), 2u);
  EXPECT_EQ(sentences[0].labels[0], (Words{"S-ORG", "O", "B-LOC", "E-LOC"}));
  EXPECT_EQ(sentences[1].labels[0], (Words{"B-PER", "E-PER", "S-PER"}));
  format.tags = "plain";
  format.column = "1";
  EXPECT_EQ(Read(text, format)[0].labels[0][1], "VBZ");
}

TEST_F(SentencesTest, TablesTakeColumnsByNameOrNumber) {
  const std::string text = "sentence\tlabel\nfine film \t1\nbad\t0\n";
  SentenceFormat format = Of("tsv");
  EXPECT_EQ(Read(text, format)[0].words, (Words{"fine", "film"}));
  format.text_column = "label";
  format.label_column = "sentence";
  EXPECT_EQ(Read(text, format)[1].labels[0], (Words{"bad"}));
  format.text_column = "title";
  EXPECT_THAT(Fault(text, format), HasSubstr("2: 'data.text_column' is 'title'"));
  format = Of("tsv");
  format.header = false;
  EXPECT_EQ(Read(text, format).size(), 3u);
}

TEST_F(SentencesTest, TreesGiveWholeSentencesOrPhrases) {
  const std::string text = "(3 (2 It) (4 (2 's) (4 (1 -LRB-) (3 good))))\n(2 (2 Hm))\n";
  SentenceFormat format = Of("trees");
  EXPECT_EQ(Read(text, format)[0].words, (Words{"It", "'s", "-LRB-", "good"}));
  EXPECT_EQ(Read(text, format)[0].labels[0], (Words{"3"}));
  format.classes = "polarity";
  format.lowercase = true;
  format.unescape_brackets = true;
  const std::vector<Sentence> two = Read(text, format);
  ASSERT_EQ(two.size(), 1u);  // the neutral one is left out
  EXPECT_EQ(two[0].words, (Words{"it", "'s", "(", "good"}));
  EXPECT_EQ(two[0].labels[0], (Words{"1"}));
  format = Of("trees");
  format.phrases = true;
  EXPECT_EQ(Read(text, format).size(), 7u + 2u);
}

TEST_F(SentencesTest, TextLinesAreSplitAndCut) {
  SentenceFormat format = Of("text");
  EXPECT_EQ(Read(" a b . c \n\n d", format).size(), 2u);
  format.split_sentences = true;
  format.max_words = 2;
  const std::vector<Sentence> sentences = Read("a b c . d e", format);
  ASSERT_EQ(sentences.size(), 3u);
  EXPECT_EQ(sentences[1].words, (Words{"c", "."}));
}

TEST_F(SentencesTest, ShuffledWordsKeepTheirLabels) {
  std::string text;
  for (int s = 0; s < 20; ++s) {
    for (char c = 'a'; c < 'j'; ++c)
      text +=
          Str(std::string(1, c), "\tx\t", std::string(1, static_cast<char>(c - 'a' + 'A')), "\n");
    text += "\n";
  }
  SentenceFormat format = Of("conll");
  const std::vector<Sentence> plain = Read(text, format);
  format.shuffle_words = true;
  const std::vector<Sentence> shuffled = Read(text, format), again = Read(text, format);
  size_t moved = 0;
  for (size_t s = 0; s < plain.size(); ++s) {
    EXPECT_EQ(shuffled[s].words, again[s].words);
    moved += shuffled[s].words != plain[s].words ? 1 : 0;
    for (size_t i = 0; i < 9; ++i) {
      EXPECT_EQ(shuffled[s].labels[0][i][0] - 'A', shuffled[s].words[i][0] - 'a');
    }
    EXPECT_THAT(shuffled[s].words, ::testing::UnorderedElementsAreArray(plain[s].words));
  }
  EXPECT_GE(moved, 19u);
  EXPECT_NE(shuffled[0].words, shuffled[1].words);
}

TEST(Cogs, LabelsOfALogicalForm) {
  const Sentence s = CogsSentence(
      "Mila liked that the cake on a table was offered to Emma .",
      "* cake ( x _ 4 ) ; like . agent ( x _ 1 , Mila ) AND like . ccomp ( x _ 1 , x _ 9 ) AND "
      "cake . nmod . on ( x _ 4 , x _ 7 ) AND table ( x _ 7 ) AND offer . theme ( x _ 9 , x _ 4 ) "
      "AND offer . recipient ( x _ 9 , Emma )",
      "x", "line 1");
  EXPECT_THAT(s.labels[0],
              ElementsAre("1", "-1", "-1", "-1", "9", "4", "-1", "5", "-1", "1", "-1", "9", "-1"));
  EXPECT_EQ(s.labels[1][5], "PREP");
  EXPECT_EQ(s.labels[1][7], "PP_NOUN");
  EXPECT_EQ(s.labels[2][0], "PNOUN");
  EXPECT_EQ(s.labels[3][4], "DEF");
  EXPECT_EQ(s.labels[3][7], "INDEF");
  EXPECT_EQ(s.labels[4][9], "offer");
  Sentence relative = s;
  MakeParentsRelative("own", &relative);
  EXPECT_EQ(relative.labels[0][0], "1");
  EXPECT_EQ(relative.labels[0][4], "5");
  EXPECT_EQ(relative.labels[0][1], "none");  // a class of its own, not the offset -1
  EXPECT_EQ(relative.labels[0][5], "-1");
  relative = s;
  MakeParentsRelative("previous", &relative);
  EXPECT_EQ(relative.labels[0][0], "1");
  EXPECT_EQ(relative.labels[0][1], "-1");
  EXPECT_EQ(relative.labels[0][5], "-1");
}

TEST(Cogs, ControlledSubjectsKeepOneParent) {
  const Sentence s = CogsSentence(
      "The moose wanted to read .",
      "* moose ( x _ 1 ) ; want . agent ( x _ 2 , x _ 1 ) AND want . xcomp ( x _ 2 , x _ 4 ) AND "
      "read . agent ( x _ 4 , x _ 1 )",
      "x", "line 1");
  EXPECT_EQ(s.labels[0][1], "2");
  EXPECT_EQ(s.labels[4][4], "read");
  EXPECT_EQ(s.labels[2][4], "");
}

TEST(Cogs, WordsWithoutAParentAreReadAsTheFormatSays) {
  TempDir dir;
  const std::string path = dir.File("cogs.tsv");
  WriteFileAtomically(path, "Mila ate .\teat . agent ( x _ 1 , Mila )\tkind\n");
  SentenceFormat format;
  format.format = "cogs";
  EXPECT_THAT(ReadSentences(path, format)[0].labels[0], ElementsAre("1", "none", "none"));
  format.no_parent = "previous";
  EXPECT_THAT(ReadSentences(path, format)[0].labels[0], ElementsAre("1", "-1", "-1"));
}

std::string SharedData(const std::string& name) {
  return JoinPath(JoinPath(GoldensRoot(), "../data"), name);
}

std::string Sha256(const std::string& content) {
  TempDir dir;
  const std::string path = dir.File("text");
  WriteFileAtomically(path, content);
  std::FILE* pipe = ::popen(("sha256sum " + path).c_str(), "r");
  char digest[65] = {};
  const bool ok = pipe != nullptr && std::fread(digest, 1, 64, pipe) == 64;
  if (pipe != nullptr) ::pclose(pipe);
  return ok ? digest : "no sha256sum";
}

// The digests of the specification.
TEST(SharedSentences, EwtReadsAsSpecified) {
  const std::string path = SharedData("ud-english-ewt/en_ewt-ud-dev.conllu.zst");
  if (!FileExists(path)) GTEST_SKIP() << "no treebank";
  SentenceFormat xpos, upos;
  upos.column = "upos";
  const std::vector<Sentence> x = ReadSentences(path, xpos), u = ReadSentences(path, upos);
  std::string text;
  for (size_t s = 0; s < x.size(); ++s) {
    for (size_t i = 0; i < x[s].words.size(); ++i) {
      text += x[s].words[i] + "\t" + x[s].labels[0][i] + "\t" + u[s].labels[0][i] + "\n";
    }
    text += "\n";
  }
  EXPECT_EQ(x.size(), 2001u);
  EXPECT_EQ(Sha256(text), "df880e020fb8503f94f0cdca67feb6ae005eb77615d505a4153ab63acf29b344");
}

TEST(SharedSentences, CogsReadsAsSpecified) {
  const std::map<std::string, std::string> digests = {
      {"train.tsv.zst", "fd15bedc5166456388e5e03ec2359471d0e21504ee0a701d1e27e6811c25670e"},
      {"dev.tsv", "44317695bc8418fc68982cf3392442a7dbf60c760e11caf69460d6f44705e6d5"}};
  for (const auto& [name, digest] : digests) {
    const std::string path = SharedData("cogs/" + name);
    if (!FileExists(path)) GTEST_SKIP() << "no COGS";
    std::string text;
    ReadCogs(path, [&](const Sentence& sentence) {
      for (size_t i = 0; i < sentence.words.size(); ++i) {
        for (size_t head = 0; head < 5; ++head) {
          text += (head == 0 ? "" : "\t") + sentence.labels[head][i];
        }
        text += "\n";
      }
      text += "\n";
    });
    EXPECT_EQ(Sha256(text), digest) << name;
  }
}

TEST(SharedSentences, SentimentSetsHaveTheirSizes) {
  SentenceFormat trees;
  trees.format = "trees";
  const std::string path = SharedData("sst5/test.txt");
  if (!FileExists(path)) GTEST_SKIP() << "no SST";
  EXPECT_EQ(ReadSentences(path, trees).size(), 2210u);
  trees.classes = "polarity";
  EXPECT_EQ(ReadSentences(path, trees).size(), 1821u);
}

TEST(Spans, AreCutWhereTagsSay) {
  const std::vector<Span> spans =
      SpansOfBioes({"B-A", "I-A", "E-A", "S-B", "O", "I-C", "B-C", "E-D", "B-E"});
  EXPECT_THAT(spans, ElementsAre(Span{0, 3, "A"}, Span{3, 4, "B"}, Span{5, 6, "C"}, Span{6, 7, "C"},
                                 Span{7, 8, "D"}, Span{8, 9, "E"}));
  EXPECT_EQ(ToBioes({"S-A", "O"}), (Words{"S-A", "O"}));
  EXPECT_EQ(ToBioes({"I-A", "B-A", "I-A", "I-B"}), (Words{"S-A", "B-A", "E-A", "S-B"}));
}

TEST(Spans, F1CountsWholeSpans) {
  SpanCounts counts;
  counts.Add({"B-A", "E-A", "O", "S-B"}, {"B-A", "E-A", "S-B", "O"});
  counts.Add({"S-A"}, {"S-C"});
  EXPECT_EQ(counts.right, 1);
  EXPECT_EQ(counts.found, 3);
  EXPECT_EQ(counts.wanted, 3);
  EXPECT_DOUBLE_EQ(counts.F1(), 1.0 / 3.0);
  EXPECT_EQ(SpanCounts().F1(), 0.0);
}

TEST(WordVocabulary, CommonestFirstUnknownAtZero) {
  std::vector<Sentence> sentences(2);
  sentences[0].words = {"b", "a", "<unk>", "c"};
  sentences[1].words = {"a", "b", "a"};
  const WordVocabulary all = WordVocabulary::Build(sentences, 1, 0);
  EXPECT_EQ(all.FileContent(), "<unk>\na\nb\nc\n");
  EXPECT_EQ(all.Find("a"), 1);
  EXPECT_EQ(all.Find("A"), 0);
  EXPECT_EQ(all.Find("<unk>"), 0);
  EXPECT_EQ(WordVocabulary::Build(sentences, 2, 0).size(), 3);
  EXPECT_EQ(WordVocabulary::Build(sentences, 1, 1).size(), 2);
  TempDir dir;
  WriteFileAtomically(dir.File("v"), all.FileContent());
  EXPECT_EQ(WordVocabulary::Load(dir.File("v")).Find("c"), 3);
  WriteFileAtomically(dir.File("v"), "a\nb\n");
  EXPECT_THAT(ErrorOf([&] { WordVocabulary::Load(dir.File("v")); }), HasSubstr("must be <unk>"));
  WriteFileAtomically(dir.File("v"), "<unk>\nb\nb\n");
  EXPECT_THAT(ErrorOf([&] { WordVocabulary::Load(dir.File("v")); }), HasSubstr("line 3"));
}

TEST(LabelSet, KnowsTheTrainingLabelsAlone) {
  std::vector<Sentence> sentences(1);
  sentences[0].words = {"x", "y"};
  sentences[0].labels = {{"N", "V"}, {"1", "1"}};
  const LabelSet tags = LabelSet::Collect("tag", sentences, 0);
  EXPECT_EQ(tags.classes(), (Words{"N", "V"}));
  EXPECT_EQ(tags.Find("V"), 1);
  EXPECT_EQ(tags.Find("ADJ"), LabelSet::kUnknownClass);
  EXPECT_EQ(LabelSet::Collect("n", sentences, 1).size(), 1);
}

}  // namespace
}  // namespace ckv
