// Sentences with labels, out of files of several formats, plain or compressed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config/visitor.h"

namespace ckv {

struct Sentence {
  std::vector<std::string> words;
  // One list a head: a label for each word, or a single one for the whole sentence. Empty for plain
  // text.
  std::vector<std::vector<std::string>> labels;
  std::string kind;  // COGS: kind of example; else empty
};

// How files are read: the keys of `data` that say so.
struct SentenceFormat {
  std::string format = "conllu";
  std::string column = "xpos";
  std::string tags = "plain";
  std::string text_column = "0";
  std::string label_column = "1";
  bool header = true;
  std::string classes = "all";
  std::string no_parent = "own";
  bool phrases = false;
  bool split_sentences = false;
  bool lowercase = false;
  bool unescape_brackets = false;
  int64_t max_words = 0;
  bool shuffle_words = false;

  void Visit(ConfigVisitor& v);

  // The heads that the format labels: {"tag"}, {"label"}, COGS's five, none for text.
  std::vector<std::string> Heads() const;
};

// All sentences of a file. Throws IoError, and FormatError with path and line for a file that is
// not of the format, has no sentences or is not UTF-8.
std::vector<Sentence> ReadSentences(const std::string& path, const SentenceFormat& format);

// Case and brackets of the words, as the format wants them.
void AdaptWords(const SentenceFormat& format, Sentence* sentence);

// Calls `line` for each line of a file, plain or compressed, with its number from 1; "\r" before
// the line end is dropped. Throws IoError and FormatError.
void ForEachLine(const std::string& path,
                 const std::function<void(std::string_view, int64_t)>& line);

std::vector<std::string> SplitAt(std::string_view text, char separator);
// At blanks and tabs; none of the parts is empty.
std::vector<std::string> SplitWords(std::string_view text);

// The readers of the formats; `emit` receives each sentence.
using EmitSentence = std::function<void(Sentence)>;
void ReadConllu(const std::string& path, const SentenceFormat& format, const EmitSentence& emit);
void ReadConllColumns(const std::string& path, const SentenceFormat& format,
                      const EmitSentence& emit);
void ReadCogs(const std::string& path, const EmitSentence& emit);
void ReadClassTable(const std::string& path, const SentenceFormat& format,
                    const EmitSentence& emit);
void ReadClassTrees(const std::string& path, const SentenceFormat& format,
                    const EmitSentence& emit);
void ReadPlainSentences(const std::string& path, const SentenceFormat& format,
                        const EmitSentence& emit);

// COGS: a logical form as labels of words. The heads are parent (index of the word, "-1" for none),
// role, category, noun type and verb name. Throws FormatError(path, where, ...).
Sentence CogsSentence(const std::string& sentence, const std::string& logical_form,
                      const std::string& path, const std::string& where);
// Turns COGS's parents into offsets from the word ("-2", "3"); words without a parent get "none"
// with no_parent "own" and "-1" with "previous" (SentenceFormat).
void MakeParentsRelative(const std::string& no_parent, Sentence* sentence);

}  // namespace ckv
