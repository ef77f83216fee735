#include "tasks/response_cache.h"

#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace ckv {
namespace {

std::string Dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string AnswerLine(int64_t document, const std::vector<TaskResponse>& answers) {
  OrderedJson list = OrderedJson::array();
  for (const TaskResponse& answer : answers) {
    list.push_back({answer.log_prob, answer.greedy, answer.text});
  }
  return Dump({{"document", document}, {"answers", list}}) + "\n";
}

}  // namespace

ResponseCache::ResponseCache(const std::string& path, const OrderedJson& settings) {
  MakeDirs(DirName(path));
  const std::string first_line = Dump(settings);
  if (!FileExists(path) || !Read(path, first_line)) {
    answers_.clear();
    WriteFileAtomically(path, first_line + "\n");
  }
  writer_ = std::make_unique<FileWriter>(path, FileWriter::Mode::kAppend);
}

// False if the file is not about this, or broken.
bool ResponseCache::Read(const std::string& path, const std::string& first_line) {
  const std::string content = ReadFile(path);
  if (content.compare(0, first_line.size() + 1, first_line + "\n") != 0) return false;
  size_t at = first_line.size() + 1;
  size_t end = 0;
  try {
    while ((end = content.find('\n', at)) != std::string::npos) {
      const Json line = ParseJson(std::string_view(content).substr(at, end - at), path);
      std::vector<TaskResponse> answers;
      for (const Json& answer : line.at("answers")) {
        answers.push_back({answer.at(0).get<double>(), answer.at(1).get<bool>(),
                           answer.at(2).get<std::string>()});
      }
      answers_[line.at("document").get<int64_t>()] = std::move(answers);
      at = end + 1;
    }
  } catch (const Error&) {
    return false;
  } catch (const Json::exception&) {
    return false;
  }
  if (at < content.size()) {
    std::error_code error;
    std::filesystem::resize_file(path, at, error);
    if (error) throw IoError(path, "cannot drop its incomplete last line", error.value());
  }
  return true;
}

const std::vector<TaskResponse>* ResponseCache::Find(int64_t document) const {
  const auto found = answers_.find(document);
  return found == answers_.end() ? nullptr : &found->second;
}

void ResponseCache::Add(int64_t document, std::vector<TaskResponse> answers) {
  writer_->Write(AnswerLine(document, answers));
  answers_[document] = std::move(answers);
}

void ResponseCache::Flush() { writer_->Flush(); }

}  // namespace ckv
