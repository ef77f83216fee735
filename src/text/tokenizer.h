// Text to token ids and back.
//
// Three kinds: a SentencePiece model (unigram or BPE, the kind that Hugging Face's LlamaTokenizer
// reads), single bytes, and single code points from a vocabulary file. Ids of a SentencePiece model
// are those of the library itself: one "dummy" space is put in front if the model says so, nothing
// else is added. Long texts go to the library in chunks of lines; for unigram models that keeps its
// single-precision sums exact, where one call for all would round (33 of 3.3 million tokens of
// WikiText-2 differed).
//
// Every kind turns valid UTF-8 into ids and exactly the same text again, with the exceptions that
// lie in a model: no byte fallback, a normalisation, or the character U+2581, with which
// SentencePiece writes a space.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/utf8.h"

namespace ckv {

// All methods are const and may be called from several threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual const char* kind() const = 0;  // "sentencepiece" | "byte" | "char"
  virtual int64_t vocab_size() const = 0;
  virtual int32_t bos_id() const = 0;  // -1: the vocabulary has none; so for the next two
  virtual int32_t eos_id() const = 0;
  virtual int32_t unk_id() const = 0;

  // Equal for two tokenizers that give the same ids, also on another machine; stored with token
  // files and checkpoints.
  virtual uint64_t Fingerprint() const = 0;

  // The ids of a text, without beginning or end of sentence. Bytes that are not UTF-8 become
  // U+FFFD (the byte tokenizer keeps them).
  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;

  // The ids of a text that goes on after a line end of the same document: Encode(a + b) is
  // Encode(a) followed by EncodeAfterNewline(b) if a ends with a line end that is a token of its
  // own.
  virtual std::vector<int32_t> EncodeAfterNewline(std::string_view text) const {
    return Encode(text);
  }

  // The text of ids. Beginning and end of sentence are invisible; bytes that are not UTF-8 become
  // U+FFFD. Throws ConfigError for an id outside the vocabulary.
  std::string Decode(const std::vector<int32_t>& ids) const;

  // The bytes that a token adds to a text: of "▁the" " the", of "<0x0A>" a line end, of beginning
  // and end of sentence none. The first token of a text loses its space if strips_first_space().
  virtual const std::string& TokenBytes(int32_t id) const = 0;
  virtual bool strips_first_space() const { return false; }

  // What a byte-level perplexity charges for the token: TokenBytes(id).size().
  int64_t ByteCost(int32_t id) const { return static_cast<int64_t>(TokenBytes(id).size()); }

  // The token as the vocabulary writes it ("▁the", "<s>", "<0x0A>"), and back (-1: none such).
  virtual std::string IdToPiece(int32_t id) const = 0;
  virtual int32_t PieceToId(std::string_view piece) const = 0;

  // The file that LoadTokenizer reads: its usual name and its content.
  virtual std::string FileName() const = 0;
  virtual const std::string& FileContent() const = 0;
};

// Opens a tokenizer:
//  - "byte": the built-in byte tokenizer (ids 0..255, <s> 256, </s> 257);
//  - a file: a SentencePiece `.model`, or a vocabulary that this program wrote;
//  - a folder (a checkpoint, ours or Hugging Face's) with one of tokenizer.model, tokenizer.char,
//    tokenizer.byte.
// Throws FormatError that names what was found, also for a folder that has tokenizer.json only, and
// IoError if there is nothing.
std::unique_ptr<Tokenizer> LoadTokenizer(const std::string& path);

// Puts the tokenizer's file into a folder, from which LoadTokenizer(folder) opens it.
void SaveTokenizer(const Tokenizer& tokenizer, const std::string& folder);

// Gives the text of tokens as they come, holding back the bytes of an unfinished character. All
// that Push and Finish return, joined, equals Decode of all ids.
class StreamingDecoder {
 public:
  explicit StreamingDecoder(const Tokenizer& tokenizer);
  std::string Push(int32_t id);
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  Utf8Stream stream_;
  bool at_start_ = true;
};

}  // namespace ckv
