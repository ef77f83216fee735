#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "app/command.h"
#include "base/error.h"
#include "ckv_version.h"
#include "config/config.h"

namespace ckv {
namespace {

constexpr char kExitCodes[] =
    "Exit codes: 0 done, 1 internal error, 2 wrong usage or configuration, 3 broken input file,\n"
    "4 reading or writing failed, 5 training diverged, 128+N stopped by signal N after saving.";

// The command that the arguments named, as far as they were understood.
const CLI::App* Selected(const CLI::App* app) {
  while (!app->get_subcommands().empty()) app = app->get_subcommands().back();
  return app;
}

std::string PathOf(const CLI::App* app) {
  const CLI::App* parent = app->get_parent();
  return parent == nullptr ? app->get_name() : PathOf(parent) + " " + app->get_name();
}

// Options, or commands for a word without dash, that `word` may have been meant to be.
std::vector<std::string> Candidates(const CLI::App* app, const std::string& word) {
  std::vector<std::string> names;
  if (word[0] == '-') {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  } else {
    for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
      names.push_back(command->get_name());
    }
  }
  return names;
}

std::string Unexpected(const CLI::App* app, const std::string& argument) {
  const std::string word = argument.substr(0, argument.find('='));
  const bool option = word[0] == '-';
  const bool group = !option && !app->get_subcommands([](const CLI::App*) { return true; }).empty();
  std::string text = Str(option  ? "unknown option"
                         : group ? "unknown command"
                                 : "one argument too many:",
                         " '", word, "'");
  const std::string closest = ClosestWord(word, Candidates(app, word));
  if (!closest.empty()) text += Str(" (did you mean '", closest, "'?)");
  return text;
}

std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

void RunProgram(const std::vector<std::string>& arguments) {
  CLI::App program("Train, study and run Transformers whose layers share keys and values.", "ckv");
  program.footer(kExitCodes);
  program.set_version_flag("--version", Str("ckv ", CKV_VERSION, " (", CKV_REVISION, ")"),
                           "Print the version and leave");
  program.require_subcommand(1);
  AddCommands(program);
  try {
    // CLI11 takes the arguments from the back.
    program.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    std::fputs(Selected(&program)->help().c_str(), stdout);
  } catch (const CLI::CallForVersion&) {
    std::puts(program.version().c_str());
  } catch (const CLI::ParseError& error) {
    const CLI::App* command = Selected(&program);
    const std::vector<std::string> extras = program.remaining(true);
    const std::string what =
        extras.empty() ? OneLine(error.what()) : Unexpected(command, extras.front());
    throw ConfigError("", Str(what, "; see '", PathOf(command), " --help'"));
  }
}

}  // namespace ckv
