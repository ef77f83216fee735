#include "data/sentences.h"

#include <algorithm>

#include "base/error.h"
#include "base/random.h"
#include "data/byte_stream.h"
#include "data/spans.h"
#include "text/utf8.h"

namespace ckv {
namespace {

std::string LowerAscii(std::string word) {
  for (char& c : word) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return word;
}

std::string UnescapeBracket(const std::string& word) {
  const std::string lower = LowerAscii(word);
  if (lower == "-lrb-") return "(";
  if (lower == "-rrb-") return ")";
  if (lower == "-lsb-") return "[";
  if (lower == "-rsb-") return "]";
  if (lower == "-lcb-") return "{";
  if (lower == "-rcb-") return "}";
  return word;
}

// Five classes to two: below the middle, above it; the middle is left out.
bool ToPolarity(Sentence* sentence, const std::string& path) {
  std::string& label = sentence->labels[0][0];
  if (label != "0" && label != "1" && label != "2" && label != "3" && label != "4") {
    throw FormatError(path, Str("label '", label, "'"),
                      "data.classes: polarity needs the labels 0 to 4");
  }
  if (label == "2") return false;
  label = label < "2" ? "0" : "1";
  return true;
}

// The order depends on the sentence's place in the file alone.
void ShuffleWords(uint64_t place, Sentence* sentence) {
  Random random(place + 0x5aff1e);
  for (size_t i = sentence->words.size(); i > 1; --i) {
    const auto other = static_cast<size_t>(random.Below(i));
    std::swap(sentence->words[i - 1], sentence->words[other]);
    for (std::vector<std::string>& labels : sentence->labels) {
      if (labels.size() == sentence->words.size()) std::swap(labels[i - 1], labels[other]);
    }
  }
}

}  // namespace

void SentenceFormat::Visit(ConfigVisitor& v) {
  v.Choice("format", format, {"conllu", "conll", "cogs", "tsv", "trees", "text"},
           "CoNLL-U, columns with blank lines between sentences (CoNLL-2003), COGS, a table of "
           "sentences and labels, trees as in SST, plain lines");
  v.Field("column", column,
          "conllu: xpos, upos, deprel or feats; conll: number of the label's column, -1 = last");
  v.Require(format != "conllu" || column == "xpos" || column == "upos" || column == "deprel" ||
                column == "feats",
            "must be xpos, upos, deprel or feats for CoNLL-U");
  v.Choice("tags", tags, {"plain", "bioes"},
           "plain: as they are, scored word by word; bioes: BIO tags to BIOES, scored by span");
  v.Field("text_column", text_column, "tsv: number from 0, or name in the header");
  v.Field("label_column", label_column, "tsv: number from 0, or name in the header");
  v.Field("header", header, "tsv: the first line names the columns");
  v.Choice("classes", classes, {"all", "polarity"},
           "polarity: the five classes of trees to two, without the middle");
  v.Choice("no_parent", no_parent, {"own", "previous"},
           "cogs: words without a parent have a class of their own (the paper), or share that of "
           "the parent one word before (the published code; only words with a role have a parent)");
  v.Field("phrases", phrases, "trees: every subtree is an example, not the whole sentence alone");
  v.Field("split_sentences", split_sentences, "text: a line may hold several sentences");
  v.Field("lowercase", lowercase, "words in lower case (ASCII letters)");
  v.Field("unescape_brackets", unescape_brackets, "-LRB- becomes (, and so on");
  v.Field("max_words", max_words, "text: longer sentences are cut into pieces; 0 = never");
  v.Require(max_words >= 0, "must be >= 0");
  v.Field("shuffle_words", shuffle_words,
          "each sentence's words in an order by chance, labels with them: what does order tell?");
}

std::vector<std::string> SentenceFormat::Heads() const {
  if (format == "cogs") return {"parent", "role", "category", "noun_type", "verb_name"};
  if (format == "conllu" || format == "conll") return {"tag"};
  if (format == "tsv" || format == "trees") return {"label"};
  return {};
}

void ForEachLine(const std::string& path,
                 const std::function<void(std::string_view, int64_t)>& line) {
  const std::unique_ptr<ByteStream> stream = OpenByteStream(path);
  std::string pending;
  std::vector<char> buffer(size_t{1} << 16);
  int64_t number = 0;
  const auto give = [&](std::string_view text) {
    ++number;
    if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
    if (number == 1 && text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
    if (!IsValidUtf8(text)) throw FormatError(path, Str("line ", number), "is not UTF-8");
    line(text, number);
  };
  while (const size_t got = stream->Read(buffer.data(), buffer.size())) {
    pending.append(buffer.data(), got);
    size_t begin = 0;
    for (size_t end = pending.find('\n'); end != std::string::npos;
         end = pending.find('\n', begin)) {
      give(std::string_view(pending).substr(begin, end - begin));
      begin = end + 1;
    }
    pending.erase(0, begin);
  }
  if (!pending.empty()) give(pending);
}

std::vector<std::string> SplitAt(std::string_view text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (true) {
    const size_t end = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::vector<std::string> SplitWords(std::string_view text) {
  std::vector<std::string> words;
  size_t at = 0;
  while (true) {
    at = text.find_first_not_of(" \t", at);
    if (at == std::string_view::npos) return words;
    const size_t end = std::min(text.find_first_of(" \t", at), text.size());
    words.emplace_back(text.substr(at, end - at));
    at = end;
  }
}

void AdaptWords(const SentenceFormat& format, Sentence* sentence) {
  for (std::string& word : sentence->words) {
    if (format.unescape_brackets) word = UnescapeBracket(word);
    if (format.lowercase) word = LowerAscii(std::move(word));
  }
}

std::vector<Sentence> ReadSentences(const std::string& path, const SentenceFormat& format) {
  std::vector<Sentence> sentences;
  const EmitSentence emit = [&](Sentence sentence) {
    AdaptWords(format, &sentence);
    if (format.format == "cogs") MakeParentsRelative(format.no_parent, &sentence);
    if (format.tags == "bioes" && !sentence.labels.empty()) {
      sentence.labels[0] = ToBioes(sentence.labels[0]);
    }
    if (format.classes == "polarity" && format.format == "trees" && !ToPolarity(&sentence, path))
      return;
    if (format.shuffle_words) ShuffleWords(sentences.size(), &sentence);
    sentences.push_back(std::move(sentence));
  };
  if (format.format == "conllu") ReadConllu(path, format, emit);
  if (format.format == "conll") ReadConllColumns(path, format, emit);
  if (format.format == "cogs") ReadCogs(path, emit);
  if (format.format == "tsv") ReadClassTable(path, format, emit);
  if (format.format == "trees") ReadClassTrees(path, format, emit);
  if (format.format == "text") ReadPlainSentences(path, format, emit);
  if (sentences.empty()) throw FormatError(path, "", "has no sentences");
  return sentences;
}

}  // namespace ckv
