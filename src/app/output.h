// How a command gives its result: as text for people or JSON for programs, on stdout or into a
// file.
#pragma once

#include <string>

#include "base/json.h"

namespace CLI {
class App;
}

namespace ckv {

class CommandOutput {
 public:
  // Adds --json and --out FILE to a command. This object must outlive the parser.
  void AddOptions(CLI::App& command);

  // Adds --json alone, for a command whose --out names the file or folder that it makes.
  void AddJson(CLI::App& command);

  bool json() const { return json_; }
  bool to_file() const { return !file_.empty(); }
  const std::string& file() const { return file_; }  // "" = stdout

  // Prints the result, one of the two forms. Ends it with a line end if it lacks one. Throws
  // IoError.
  void Print(const OrderedJson& json, const std::string& text) const;

 private:
  bool json_ = false;
  std::string file_;
};

// Writes to stdout at once. Throws IoError.
void WriteToStdout(const std::string& text);

}  // namespace ckv
