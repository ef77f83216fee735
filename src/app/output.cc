#include "app/output.h"

#include <cerrno>
#include <cstdio>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace ckv {

void CommandOutput::AddJson(CLI::App& command) {
  command.add_flag("--json", json_, "Print the result as JSON");
}

void CommandOutput::AddOptions(CLI::App& command) {
  AddJson(command);
  // Looked at first, for the work may take hours.
  command.add_option("--out", file_, "Write the result to a file instead of stdout")
      ->type_name("FILE")
      ->each([](const std::string& path) { CheckWritable(path); });
}

void CommandOutput::Print(const OrderedJson& json, const std::string& text) const {
  // Paths need not be UTF-8, which JSON must be.
  std::string content =
      json_ ? json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) : text;
  if (content.empty() || content.back() != '\n') content += '\n';
  if (!file_.empty()) {
    WriteFileAtomically(file_, content);
    return;
  }
  WriteToStdout(content);
}

void WriteToStdout(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) throw IoError("stdout", "cannot write", errno);
}

}  // namespace ckv
