// A model's answers to a task's documents, kept so that an interrupted evaluation goes on.
//
// A file of JSON lines: the first says what the answers belong to, each further one holds a
// document's. Answers are with the system as soon as they are known; a half-written last line is
// dropped.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "tasks/task.h"

namespace ckv {

class ResponseCache {
 public:
  // Opens or begins `path`. A file of other settings, or one that is broken, begins anew. Throws
  // IoError if it cannot be written.
  ResponseCache(const std::string& path, const OrderedJson& settings);

  const std::map<int64_t, std::vector<TaskResponse>>& answers() const { return answers_; }
  // nullptr: not known. Until the next Add.
  const std::vector<TaskResponse>* Find(int64_t document) const;
  void Add(int64_t document, std::vector<TaskResponse> answers);
  // Hands what was added to the system.
  void Flush();

 private:
  bool Read(const std::string& path, const std::string& first_line);

  std::map<int64_t, std::vector<TaskResponse>> answers_;
  std::unique_ptr<FileWriter> writer_;
};

}  // namespace ckv
