#include "app/conic_outputs.h"

#include <filesystem>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace ckv {
namespace {

std::string LineOf(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

void CheckSameJob(const Json& before, const OrderedJson& settings, const std::string& path) {
  const Json now = ParseJson(LineOf(settings), "settings");
  for (const auto& item : now.items()) {
    const Json was = before.is_object() ? before.value(item.key(), Json()) : Json();
    if (was == item.value()) continue;
    throw ConfigError(
        "--predictions",
        Str(path, " holds outputs of another evaluation: '", item.key(), "' was ", was.dump(),
            ", not ", item.value().dump(), "; remove it or name another file"));
  }
}

}  // namespace

ConicOutputs::ConicOutputs(const std::string& predictions, const OrderedJson& settings,
                           size_t count)
    : outputs_(count) {
  if (predictions.empty()) return;
  path_ = predictions + ".partial";
  if (FileExists(path_)) ReadKept(settings);
  const bool fresh = !FileExists(path_) || FileSize(path_) == 0;
  writer_ = std::make_unique<FileWriter>(path_, FileWriter::Mode::kAppend);
  if (!fresh) return;
  writer_->Write(LineOf(settings));
  writer_->Flush();
}

void ConicOutputs::ReadKept(const OrderedJson& settings) {
  const std::string content = ReadFile(path_);
  size_t begin = 0;
  size_t end = 0;
  int64_t number = 0;
  while ((end = content.find('\n', begin)) != std::string::npos) {
    ++number;
    const Json line = ParseJson(content.substr(begin, end - begin), Str(path_, ":", number));
    begin = end + 1;
    if (number == 1) {
      CheckSameJob(line, settings, path_);
      continue;
    }
    const bool good = line.is_object() && line.value("index", Json()).is_number_unsigned() &&
                      line["index"] < outputs_.size() && line.value("output", Json()).is_string() &&
                      line.value("finish", Json()).is_string() &&
                      line.value("tokens", Json()).is_number_unsigned();
    if (!good) throw FormatError(path_, Str("line ", number), "is no output of this evaluation");
    std::optional<ConicOutput>& output = outputs_[line["index"].get<size_t>()];
    num_kept_ += output.has_value() ? 0 : 1;
    output = ConicOutput{line["output"], line["finish"], line["tokens"]};
  }
  if (begin == content.size()) return;
  std::error_code error;
  std::filesystem::resize_file(path_, begin, error);
  if (error) throw IoError(path_, "cannot drop its incomplete last line", error.value());
}

void ConicOutputs::Add(size_t index, ConicOutput output) {
  if (writer_ != nullptr) {
    writer_->Write(LineOf({{"index", index},
                           {"output", output.text},
                           {"finish", output.finish},
                           {"tokens", output.tokens}}));
    writer_->Flush();
  }
  outputs_[index] = std::move(output);
}

std::vector<ConicOutput> ConicOutputs::All() const {
  std::vector<ConicOutput> all;
  for (const std::optional<ConicOutput>& output : outputs_) {
    all.push_back(output.value_or(ConicOutput()));
  }
  return all;
}

void ConicOutputs::Remove() {
  if (writer_ == nullptr) return;
  writer_->Close();
  writer_.reset();
  RemoveAll(path_);
}

}  // namespace ckv
