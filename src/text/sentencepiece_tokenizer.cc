#include "text/sentencepiece_tokenizer.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <utility>
#include <vector>

#include <sentencepiece_processor.h>

#include "base/error.h"
#include "base/hash.h"

namespace ckv {
namespace {

constexpr size_t kChunkBytes = 4096;
constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581

std::string WithPlainSpaces(std::string_view piece) {
  std::string text;
  while (!piece.empty()) {
    const size_t at = piece.find(kSpaceSymbol);
    text.append(piece.substr(0, at));
    if (at == std::string_view::npos) break;
    text.push_back(' ');
    piece.remove_prefix(at + kSpaceSymbol.size());
  }
  return text;
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::string& path, std::string model) : content_(std::move(model)) {
    const sentencepiece::util::Status status = processor_.LoadFromSerializedProto(content_);
    if (!status.ok()) {
      throw FormatError(path, "", Str("is not a SentencePiece model (", status.message(), ")"));
    }
    if (processor_.GetPieceSize() == 0) throw FormatError(path, "", "the vocabulary is empty");

    bytes_.reserve(static_cast<size_t>(processor_.GetPieceSize()));
    for (int32_t id = 0; id < processor_.GetPieceSize(); ++id) bytes_.push_back(BytesOf(id));
    fingerprint_ = Fnv1a64(content_);

    const std::vector<int> letter = processor_.EncodeAsIds("x");
    strips_first_space_ = !letter.empty() && BytesAt(letter.front())[0] == ' ';
    FindNewline();
  }

  const char* kind() const override { return "sentencepiece"; }
  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  int32_t bos_id() const override { return processor_.bos_id(); }
  int32_t eos_id() const override { return processor_.eos_id(); }
  int32_t unk_id() const override { return processor_.unk_id(); }
  uint64_t Fingerprint() const override { return fingerprint_; }
  bool strips_first_space() const override { return strips_first_space_; }

  std::vector<int32_t> Encode(std::string_view text) const override {
    std::vector<int32_t> ids = EncodeChunk(TakeChunk(&text));
    AppendAfterNewline(text, &ids);
    return ids;
  }

  std::vector<int32_t> EncodeAfterNewline(std::string_view text) const override {
    std::vector<int32_t> ids;
    AppendAfterNewline(text, &ids);
    return ids;
  }

  const std::string& TokenBytes(int32_t id) const override {
    if (id < 0 || id >= vocab_size()) {
      throw ConfigError("", Str("token id ", id, " is outside the vocabulary of ", vocab_size()));
    }
    return BytesAt(id);
  }

  std::string IdToPiece(int32_t id) const override {
    TokenBytes(id);  // checks the id: the library does not
    return processor_.IdToPiece(id);
  }

  int32_t PieceToId(std::string_view piece) const override {
    const int32_t id = processor_.PieceToId(sentencepiece_view(piece.data(), piece.size()));
    return id >= 0 && id < vocab_size() && processor_.IdToPiece(id) == piece ? id : -1;
  }

  std::string FileName() const override { return "tokenizer.model"; }
  const std::string& FileContent() const override { return content_; }

 private:
  using sentencepiece_view = absl::string_view;

  // Takes the lines off the front of `text` that make one call of the library: some kilobytes,
  // because its time for BPE grows faster than the text. All, if a line end is no place to cut.
  std::string_view TakeChunk(std::string_view* text) const {
    const size_t end = newline_.empty() ? std::string_view::npos : text->find('\n', kChunkBytes);
    const std::string_view chunk = text->substr(0, end == std::string_view::npos ? end : end + 1);
    text->remove_prefix(chunk.size());
    return chunk;
  }

  std::vector<int32_t> EncodeChunk(std::string_view text) const {
    std::vector<int> ids;
    const sentencepiece::util::Status status =
        processor_.Encode(sentencepiece_view(text.data(), text.size()), &ids);
    CKV_CHECK(status.ok(), "SentencePiece cannot encode: ", status.ToString());
    return ids;
  }

  void AppendAfterNewline(std::string_view text, std::vector<int32_t>* ids) const {
    while (!text.empty()) {
      const std::string_view chunk = TakeChunk(&text);
      // Without the line end in front the library would put its dummy space before the text.
      std::string with_newline = newline_.empty() ? "" : "\n";
      with_newline.append(chunk);
      const std::vector<int32_t> more = EncodeChunk(with_newline);
      CKV_CHECK(std::equal(newline_.begin(), newline_.end(), more.begin(),
                           more.begin() +
                               static_cast<std::ptrdiff_t>(std::min(newline_.size(), more.size()))),
                "a line end is not encoded as it is alone");
      ids->insert(ids->end(), more.begin() + static_cast<std::ptrdiff_t>(newline_.size()),
                  more.end());
    }
  }

  // Line ends are places to cut if one token stands for them and no other holds one.
  void FindNewline() {
    int64_t holders = 0;
    for (const std::string& bytes : bytes_) holders += bytes.find('\n') != std::string::npos;
    if (holders != 1) return;
    newline_ = processor_.EncodeAsIds("\n");
    if (newline_.empty() || BytesAt(newline_.back()) != "\n") newline_.clear();
  }

  const std::string& BytesAt(int32_t id) const { return bytes_[static_cast<size_t>(id)]; }

  std::string BytesOf(int32_t id) const {
    if (processor_.IsControl(id)) return "";
    if (processor_.IsUnknown(id)) return processor_.DecodeIds({id});  // the model's surface form
    const std::string& piece = processor_.IdToPiece(id);
    if (processor_.IsByte(id)) {  // "<0x0A>"
      return std::string(1, static_cast<char>(std::strtol(piece.c_str() + 3, nullptr, 16)));
    }
    return WithPlainSpaces(piece);
  }

  std::string content_;
  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> bytes_;  // by id
  std::vector<int32_t> newline_;    // Encode("\n") if line ends are places to cut
  uint64_t fingerprint_ = 0;
  bool strips_first_space_ = false;
};

}  // namespace

std::unique_ptr<Tokenizer> NewSentencePieceTokenizer(const std::string& path, std::string model) {
  return std::make_unique<SentencePieceTokenizer>(path, std::move(model));
}

}  // namespace ckv
