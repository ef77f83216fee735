#include "text/tokenizer.h"

#include "base/error.h"
#include "base/file.h"
#include "text/byte_tokenizer.h"
#include "text/char_tokenizer.h"
#include "text/sentencepiece_tokenizer.h"

namespace ckv {
namespace {

constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;

// What the start of a file says it is, for messages.
std::string DescribeContent(const std::string& content) {
  if (content.empty()) return "an empty file";
  const size_t first = content.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && (content[first] == '{' || content[first] == '[')) return "JSON";
  if (IsValidUtf8(std::string_view(content).substr(0, 512))) return "text";
  return "binary data";
}

std::unique_ptr<Tokenizer> LoadTokenizerFile(const std::string& path) {
  const std::string name = BaseName(path);
  if (name.size() >= 5 && name.substr(name.size() - 5) == ".json") {
    throw FormatError(path, "",
                      "Hugging Face's tokenizer.json is not supported; only a SentencePiece model "
                      "(tokenizer.model) or a vocabulary written by 'ckv data tokenizer' is");
  }
  std::string content = ReadFile(path, kMaxTokenizerBytes);
  if (IsByteVocabulary(content)) return NewByteTokenizer();
  if (IsCharVocabulary(content)) return NewCharTokenizer(path, std::move(content));
  const std::string described = DescribeContent(content);
  if (described != "binary data" && described != "text") {
    throw FormatError(path, "", Str("is ", described, ", not a SentencePiece model"));
  }
  return NewSentencePieceTokenizer(path, std::move(content));
}

std::unique_ptr<Tokenizer> LoadTokenizerFolder(const std::string& folder) {
  for (const char* name : {"tokenizer.model", "tokenizer.char", "tokenizer.byte"}) {
    const std::string path = JoinPath(folder, name);
    if (FileExists(path)) return LoadTokenizerFile(path);
  }
  if (FileExists(JoinPath(folder, "tokenizer.json"))) {
    throw FormatError(folder, "",
                      "has tokenizer.json only, which is not supported; a SentencePiece model "
                      "(tokenizer.model) is needed, or token ids instead of text");
  }
  throw IoError(folder, "has no tokenizer.model, tokenizer.char or tokenizer.byte");
}

}  // namespace

std::string Tokenizer::Decode(const std::vector<int32_t>& ids) const {
  StreamingDecoder decoder(*this);
  std::string text;
  for (const int32_t id : ids) text += decoder.Push(id);
  return text + decoder.Finish();
}

std::unique_ptr<Tokenizer> LoadTokenizer(const std::string& path) {
  if (path == "byte") return NewByteTokenizer();
  return IsDirectory(path) ? LoadTokenizerFolder(path) : LoadTokenizerFile(path);
}

void SaveTokenizer(const Tokenizer& tokenizer, const std::string& folder) {
  WriteFileAtomically(JoinPath(folder, tokenizer.FileName()), tokenizer.FileContent());
}

StreamingDecoder::StreamingDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

std::string StreamingDecoder::Push(int32_t id) {
  std::string_view bytes = tokenizer_.TokenBytes(id);
  if (bytes.empty()) return "";
  if (at_start_ && tokenizer_.strips_first_space() && bytes[0] == ' ') bytes.remove_prefix(1);
  at_start_ = false;
  return stream_.Push(bytes);
}

std::string StreamingDecoder::Finish() { return stream_.Finish(); }

}  // namespace ckv
