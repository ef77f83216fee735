#include "text/byte_tokenizer.h"

#include <array>

#include "base/error.h"
#include "base/hash.h"

namespace ckv {
namespace {

constexpr int32_t kNumBytes = 256;
constexpr int32_t kByteBos = 256;
constexpr int32_t kByteEos = 257;

class ByteTokenizer : public Tokenizer {
 public:
  ByteTokenizer() : content_("ckv-byte-vocabulary 1\n") {
    for (int32_t id = 0; id < kNumBytes; ++id) {
      bytes_[static_cast<size_t>(id)] = std::string(1, static_cast<char>(id));
    }
  }

  const char* kind() const override { return "byte"; }
  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  int32_t bos_id() const override { return kByteBos; }
  int32_t eos_id() const override { return kByteEos; }
  int32_t unk_id() const override { return -1; }
  uint64_t Fingerprint() const override { return Fnv1a64(content_); }

  std::vector<int32_t> Encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size());
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }

  const std::string& TokenBytes(int32_t id) const override {
    if (id < 0 || id >= vocab_size()) {
      throw ConfigError("", Str("token id ", id, " is outside the vocabulary of ", vocab_size()));
    }
    return bytes_[static_cast<size_t>(id)];
  }

  std::string IdToPiece(int32_t id) const override {
    if (id == kByteBos) return "<s>";
    if (id == kByteEos) return "</s>";
    const auto byte = static_cast<unsigned char>(TokenBytes(id)[0]);
    constexpr char kDigits[] = "0123456789ABCDEF";
    return Str("<0x", kDigits[byte >> 4], kDigits[byte & 15], ">");
  }

  int32_t PieceToId(std::string_view piece) const override {
    for (int32_t id = 0; id < vocab_size(); ++id) {
      if (IdToPiece(id) == piece) return id;
    }
    return -1;
  }

  std::string FileName() const override { return "tokenizer.byte"; }
  const std::string& FileContent() const override { return content_; }

 private:
  std::array<std::string, kNumBytes + 2> bytes_;  // <s> and </s> stand for no bytes
  std::string content_;
};

}  // namespace

std::unique_ptr<Tokenizer> NewByteTokenizer() { return std::make_unique<ByteTokenizer>(); }

bool IsByteVocabulary(std::string_view content) {
  return content.substr(0, 20) == "ckv-byte-vocabulary ";
}

}  // namespace ckv
