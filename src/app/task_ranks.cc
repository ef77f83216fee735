#include "app/task_ranks.h"

#include <memory>
#include <utility>

#include <nlohmann/json.hpp>

#include "app/train_ranks.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace ckv {
namespace {

using Answers = std::vector<std::vector<TaskResponse>>;

constexpr char kAnswersEnd[] = ".jsonl";

std::string StemOf(const std::string& path) {
  return path.substr(0, path.size() - (sizeof(kAnswersEnd) - 1));
}

std::string PathOfRank(const std::string& path, int rank) {
  return rank == 0 ? path : Str(StemOf(path), ".rank", rank, kAnswersEnd);
}

// Takes over what the ranks of an evaluation that was interrupted have kept.
void TakeLeftAnswers(const AnswerFile& file, ResponseCache* cache) {
  const std::string folder = DirName(file.path);
  const std::string start = BaseName(StemOf(file.path)) + ".rank";
  for (const std::string& name : ListDir(folder)) {
    if (name.compare(0, start.size(), start) != 0) continue;
    const std::string path = JoinPath(folder, name);
    const ResponseCache left(path, file.settings);
    for (const auto& [document, answers] : left.answers()) {
      if (cache->Find(document) == nullptr) cache->Add(document, answers);
    }
    cache->Flush();
    RemoveAll(path);
  }
}

// Rank 0's, or nullptr where it cannot be.
std::unique_ptr<ResponseCache> OpenAnswers(const AnswerFile& file) {
  try {
    auto cache = std::make_unique<ResponseCache>(file.path, file.settings);
    TakeLeftAnswers(file, cache.get());
    return cache;
  } catch (const IoError& error) {
    if (file.required) throw;
    LogWarn("eval", Str("answers are not kept: ", error.what()));
    return nullptr;
  }
}

// In MessagePack, which keeps numbers and bytes as they are.
std::string Packed(const Json& json) {
  const std::vector<uint8_t> bytes = Json::to_msgpack(json);
  return {bytes.begin(), bytes.end()};
}

Json Unpacked(const std::string& text) { return Json::from_msgpack(text.begin(), text.end()); }

std::string PackAnswers(const std::vector<int64_t>& documents, const Answers& answers) {
  Json list = Json::array();
  for (const int64_t document : documents) {
    Json of_document = Json::array();
    for (const TaskResponse& answer : answers[static_cast<size_t>(document)]) {
      of_document.push_back({answer.log_prob, answer.greedy, answer.text});
    }
    list.push_back({document, std::move(of_document)});
  }
  return Packed(list);
}

void UnpackAnswers(const std::string& text, Answers* answers) {
  for (const Json& item : Unpacked(text)) {
    std::vector<TaskResponse>& of_document = (*answers)[item[0].get<size_t>()];
    of_document.clear();
    for (const Json& answer : item[1]) {
      of_document.push_back(
          {answer[0].get<double>(), answer[1].get<bool>(), answer[2].get<std::string>()});
    }
  }
}

// One rank of several.
class RankedTask {
 public:
  RankedTask(const Task& task, const TaskRunOptions& options, const std::optional<AnswerFile>& file,
             CommGroup& group)
      : task_(task), options_(options), file_(file), group_(group) {}

  Answers Run(Decoder& decoder, const Tokenizer& tokenizer, const TaskProgress& progress) {
    Open();
    Answers answers;
    group_.Together([&] {
      TaskRunOptions mine = options_;
      mine.documents = documents_;
      answers = RunTask(decoder, tokenizer, task_, mine, cache_.get(), progress);
    });
    const std::vector<std::string> packed = group_.Gather(PackAnswers(documents_, answers));
    UnpackAnswers(known_, &answers);
    for (const std::string& of_rank : packed) UnpackAnswers(of_rank, &answers);
    Merge(answers);
    return answers;
  }

 private:
  // What rank 0 knows already is sent to all; the rest is dealt out.
  void Open() {
    group_.Together([this] {
      if (file_.has_value() && group_.root()) cache_ = OpenAnswers(*file_);
    });
    const int64_t total = options_.NumDocuments(task_);
    if (group_.root()) {
      std::vector<int64_t> documents;
      Answers answers(static_cast<size_t>(total));
      for (int64_t i = 0; i < total && cache_ != nullptr; ++i) {
        const std::vector<TaskResponse>* found = cache_->Find(i);
        if (found == nullptr) continue;
        documents.push_back(i);
        answers[static_cast<size_t>(i)] = *found;
      }
      known_ = PackAnswers(documents, answers);
    }
    known_ = group_.Gather(known_)[0];
    std::vector<bool> done(static_cast<size_t>(total), false);
    for (const Json& item : Unpacked(known_)) done[item[0].get<size_t>()] = true;
    int64_t turn = 0;
    for (int64_t i = 0; i < total; ++i) {
      if (done[static_cast<size_t>(i)]) continue;
      if (turn++ % group_.world() == group_.rank()) documents_.push_back(i);
    }
    const bool kept = group_.Gather(cache_ != nullptr ? "kept" : "")[0] == "kept";
    group_.Together([&] {
      if (!kept || group_.root()) return;
      cache_ =
          std::make_unique<ResponseCache>(PathOfRank(file_->path, group_.rank()), file_->settings);
    });
  }

  // Rank 0 has all of it on the disk before the others drop theirs.
  void Merge(const Answers& answers) {
    group_.Together([&] {
      if (!group_.root() || cache_ == nullptr) return;
      for (size_t i = 0; i < answers.size(); ++i) {
        const auto document = static_cast<int64_t>(i);
        if (cache_->Find(document) == nullptr) cache_->Add(document, answers[i]);
      }
      cache_->Flush();
    });
    if (group_.root() || cache_ == nullptr) return;
    cache_.reset();
    RemoveAll(PathOfRank(file_->path, group_.rank()));
  }

  const Task& task_;
  const TaskRunOptions& options_;
  const std::optional<AnswerFile>& file_;
  CommGroup& group_;
  std::unique_ptr<ResponseCache> cache_;
  std::string known_;               // packed
  std::vector<int64_t> documents_;  // of this rank
};

}  // namespace

std::vector<std::vector<TaskResponse>> RunTaskOnRanks(
    Decoder& decoder, const Tokenizer& tokenizer, const Task& task, const TaskRunOptions& options,
    const std::optional<AnswerFile>& file, CommGroup* group, const TaskProgress& progress) {
  if (group != nullptr) {
    return RankedTask(task, options, file, *group).Run(decoder, tokenizer, progress);
  }
  const std::unique_ptr<ResponseCache> cache = file.has_value() ? OpenAnswers(*file) : nullptr;
  return RunTask(decoder, tokenizer, task, options, cache.get(), progress);
}

}  // namespace ckv
