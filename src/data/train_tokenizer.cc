#include "data/train_tokenizer.h"

#include "base/error.h"
#include "base/file.h"
#include "text/char_tokenizer.h"
#include "text/tokenizer.h"

namespace ckv {
namespace {

std::string TrainCharVocabulary(const TextIterator& next, int64_t max_vocab) {
  if (max_vocab < 4) throw ConfigError("vocab_size", Str(max_vocab, ", but must be >= 4"));
  CharVocabularyBuilder builder;
  std::string text;
  while (next(&text)) builder.Add(text);
  if (builder.num_distinct() == 0) {
    throw FormatError("tokenizer training", "", "the texts are empty");
  }
  return builder.Build(max_vocab);
}

}  // namespace

int64_t TrainTokenizer(const TrainTokenizerOptions& options, const std::string& out) {
  TextReader reader(options.reader, ExpandInputs(options.inputs));
  const TextIterator next = [&](std::string* text) {
    TextPart part;
    if (!reader.Next(&part)) return false;
    *text = std::move(part.text);
    return true;
  };
  SentencePieceOptions sentencepiece = options.sentencepiece;
  sentencepiece.type = options.kind;
  WriteFileAtomically(out, options.kind == "char"
                               ? TrainCharVocabulary(next, options.sentencepiece.vocab_size)
                               : TrainSentencePiece(sentencepiece, next));
  return LoadTokenizer(out)->vocab_size();
}

}  // namespace ckv
