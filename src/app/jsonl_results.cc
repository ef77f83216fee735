#include "app/jsonl_results.h"

#include <filesystem>
#include <utility>

#include <nlohmann/json.hpp>

#include "app/output.h"
#include "base/error.h"

namespace ckv {
namespace {

// The line without its results, as the prompt's line was.
Json WithoutResults(const std::string& line, const std::string& where, const JsonlFields& fields) {
  Json json = ParseJson(line, where);
  if (!json.is_object() || !json.contains(fields.results)) {
    throw FormatError(where, "", Str("is no result: it has no field '", fields.results, "'"));
  }
  json.erase(fields.results);
  return json;
}

}  // namespace

JsonlResults::JsonlResults(std::string path, const OrderedJson& settings,
                           const std::vector<JsonlPrompt>& prompts, const JsonlFields& fields)
    : path_(std::move(path)), fields_(fields) {
  if (path_.empty()) return;
  const bool has_results = FileExists(path_) && (IsDirectory(path_) || FileSize(path_) > 0);
  if (has_results) {
    CheckSettings(settings);
    KeepCompleteLines(prompts);
  } else {
    WriteFileAtomically(SettingsPath(),
                        settings.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
  }
  writer_ = std::make_unique<FileWriter>(path_, FileWriter::Mode::kAppend);
}

void JsonlResults::CheckSettings(const OrderedJson& settings) const {
  const std::string origin = "--out " + path_;
  if (!FileExists(SettingsPath())) {
    throw ConfigError(origin, Str("is there already, but ", SettingsPath(),
                                  " is not, so it cannot be continued; name another file"));
  }
  const Json old = ReadJsonFile(SettingsPath());
  const Json wanted =
      ParseJson(settings.dump(-1, ' ', false, OrderedJson::error_handler_t::replace), "settings");
  for (const auto& item : wanted.items()) {
    const Json before = old.is_object() ? old.value(item.key(), Json()) : Json();
    if (before == item.value()) continue;
    throw ConfigError(origin,
                      Str("holds results of another job: '", item.key(), "' was ", before.dump(),
                          ", not ", item.value().dump(), "; name another file or remove this one"));
  }
}

void JsonlResults::KeepCompleteLines(const std::vector<JsonlPrompt>& prompts) {
  const std::string content = ReadFile(path_);
  size_t begin = 0;
  size_t end = 0;
  while ((end = content.find('\n', begin)) != std::string::npos) {
    const std::string where = Str(path_, ":", num_kept_ + 1);
    const Json line = WithoutResults(content.substr(begin, end - begin), where, fields_);
    if (num_kept_ == prompts.size() || line != ParseJson(prompts[num_kept_].line, where)) {
      throw ConfigError("--out " + path_,
                        Str("its line ", num_kept_ + 1, " is not about prompt ", num_kept_ + 1,
                            " of this job; name another file or remove this one"));
    }
    ++num_kept_;
    begin = end + 1;
  }
  if (begin == content.size()) return;
  std::error_code error;
  std::filesystem::resize_file(path_, begin, error);
  if (error) throw IoError(path_, "cannot drop its incomplete last line", error.value());
}

void JsonlResults::Write(const JsonlPrompt& prompt, const OrderedJson& results) {
  OrderedJson json = OrderedJson::parse(prompt.line);
  json[fields_.results] = results;
  const std::string line = json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
  if (writer_ == nullptr) {
    WriteToStdout(line);
    return;
  }
  writer_->Write(line);
  writer_->Flush();
}

void JsonlResults::Close() {
  if (writer_ != nullptr) writer_->Close();
}

}  // namespace ckv
