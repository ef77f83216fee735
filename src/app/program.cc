#include <algorithm>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "app/command.h"
#include "app/output.h"
#include "base/error.h"
#include "ckv_version.h"
#include "config/config.h"

namespace ckv {
namespace {

constexpr char kExitCodes[] =
    "Exit codes: 0 done, 1 internal error, 2 wrong usage or configuration, 3 broken input file,\n"
    "4 reading or writing failed, 5 training diverged, 6 another process of the run failed or "
    "hangs,\n"
    "128+N stopped by signal N after saving.";

// The command that the arguments named, as far as they were understood.
const CLI::App* Selected(const CLI::App* app) {
  while (!app->get_subcommands().empty()) app = app->get_subcommands().back();
  return app;
}

// The first on the way to the selected command that got an argument it does not know; else nullptr.
const CLI::App* WithUnknown(const CLI::App* app) {
  while (app->remaining_size() == 0) {
    if (app->get_subcommands().empty()) return nullptr;
    app = app->get_subcommands().back();
  }
  return app;
}

std::string PathOf(const CLI::App* app) {
  const CLI::App* parent = app->get_parent();
  return parent == nullptr ? app->get_name() : PathOf(parent) + " " + app->get_name();
}

std::vector<std::string> CommandNames(const CLI::App* app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> OptionNames(const CLI::App* app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app->get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::string DescribeUnknown(const CLI::App* app, const std::string& argument) {
  const bool option = argument.size() > 1 && argument[0] == '-';
  const std::string word = option ? argument.substr(0, argument.find('=')) : argument;
  const std::vector<std::string> commands = CommandNames(app);
  if (!option && (commands.empty() || !app->get_subcommands().empty())) {
    return Str("one argument too many: '", word, "'");
  }
  const std::string closest = ClosestWord(word, option ? OptionNames(app) : commands);
  return Str("unknown ", option ? "option" : "command", " '", word, "'",
             closest.empty() ? "" : Str(" (did you mean '", closest, "'?)"));
}

// CLI11's message on one line, or a clearer one. It has the option's name in front or within.
std::string DescribeUsageError(const CLI::App* app, const CLI::ParseError& error) {
  const std::vector<std::string> commands = CommandNames(app);
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && !commands.empty()) {
    std::string list;
    for (const std::string& name : commands) list += (list.empty() ? "" : ", ") + name;
    return Str("a command is missing: one of ", list);
  }
  std::string text = error.what();
  std::replace(text.begin(), text.end(), '\n', ' ');
  const auto before = [&text](const char* part) {
    const size_t at = text.find(part);
    return at == std::string::npos ? "" : text.substr(0, at);
  };
  // "--out: 1 required FILE missing", "--out: At Most 1 required but received 2", "--json was given
  // a disallowed flag override"
  const std::string missing = before(": 1 required ");
  if (!missing.empty()) return missing + " needs a value";
  const std::string repeated = before(": At Most 1 required");
  if (!repeated.empty()) return repeated + " is given more than once";
  const std::string flag = before(" was given a disallowed flag override");
  if (!flag.empty()) return Str(flag[0] == '-' ? "" : "--", flag, " takes no value");
  return text;
}

// What is wrong with `text` as a number of CLI11's type `type`; "" if nothing. CLI11 itself also
// takes octal and hexadecimal numbers, and 'true' for 1.
std::string NumberFault(const std::string& text, const std::string& type) {
  const ConfigValue value = ConfigValue::Scalar(text);
  try {
    if (type == "FLOAT") {
      AsDouble(value, "");
    } else if (AsInt(value, "") < 0 && type == "UINT") {
      return Str("'", text, "' is negative");
    }
  } catch (const ConfigError&) {
    return Str("'", text, "' is not ", type == "FLOAT" ? "a number" : "a whole number");
  }
  return "";
}

// Lets numbers be decimal only and flags have no value.
void MakeStrict(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    if (type == "INT" || type == "UINT" || type == "FLOAT") {
      option->check(
          CLI::Validator([type](std::string& text) { return NumberFault(text, type); }, ""));
    } else if (option->get_items_expected_max() == 0) {
      option->disable_flag_override();
    }
  }
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    MakeStrict(*command);
  }
}

}  // namespace

void RunProgram(const std::vector<std::string>& arguments) {
  CLI::App program("Train, study and run Transformers whose layers share keys and values.", "ckv");
  program.footer(kExitCodes);
  program.set_version_flag("--version", Str("ckv ", CKV_VERSION, " (", CKV_REVISION, ")"),
                           "Print the version and leave");
  program.require_subcommand(1);
  AddCommands(program);
  MakeStrict(program);
  try {
    // CLI11 takes the arguments from the back.
    program.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    WriteToStdout(program.help());
  } catch (const CLI::CallForVersion&) {
    WriteToStdout(program.version() + "\n");
  } catch (const CLI::ParseError& error) {
    const CLI::App* unknown = WithUnknown(&program);
    const CLI::App* command = unknown != nullptr ? unknown : Selected(&program);
    const std::string what = unknown != nullptr
                                 ? DescribeUnknown(unknown, unknown->remaining().front())
                                 : DescribeUsageError(command, error);
    throw ConfigError("", Str(what, "; see '", PathOf(command), " --help'"));
  }
}

}  // namespace ckv
