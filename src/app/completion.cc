#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/output.h"
#include "base/str.h"

namespace ckv {
namespace {

// A name with what it means.
struct CompletionWord {
  std::string name;
  std::string help;
};

// An option that takes a value: what may follow it.
struct CompletionValue {
  enum class Kind { kFile, kNumber, kChoice };
  std::vector<std::string> options;  // its names
  Kind kind = Kind::kFile;
  std::vector<std::string> choices;
};

// One command: what may be typed after it.
struct CompletionCommand {
  std::string path;                   // "ckv data prepare"
  std::vector<CompletionWord> words;  // its commands, or the choices of its argument
  std::vector<CompletionWord> options;
  std::vector<CompletionValue> values;
};

// The choices in a type as CLI11 writes it, "TEXT:{unigram,bpe}"; none if it lists none.
std::vector<std::string> ChoicesOf(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t open = type.find('{');
  const size_t close = type.find('}');
  if (open == std::string::npos || close == std::string::npos) return {};
  std::vector<std::string> choices(1);
  for (size_t i = open + 1; i < close; ++i) {
    if (type[i] == ',') {
      choices.emplace_back();
    } else {
      choices.back() += type[i];
    }
  }
  return choices;
}

CompletionValue ValueOf(const CLI::Option& option, const std::vector<std::string>& names) {
  CompletionValue value;
  value.options = names;
  value.choices = ChoicesOf(option);
  const std::string type = option.get_type_name();
  if (!value.choices.empty()) {
    value.kind = CompletionValue::Kind::kChoice;
  } else if (type == "INT" || type == "UINT" || type == "FLOAT") {
    value.kind = CompletionValue::Kind::kNumber;
  }
  return value;
}

void AddCompletionOption(const CLI::Option& option, CompletionCommand* command) {
  if (option.get_positional()) {
    for (const std::string& choice : ChoicesOf(option)) command->words.push_back({choice, ""});
    return;
  }
  std::vector<std::string> names;
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : names) {
    command->options.push_back({name, option.get_description()});
  }
  if (option.get_items_expected_max() > 0) command->values.push_back(ValueOf(option, names));
}

// Adds `app` and all commands below it.
void CollectCommands(const CLI::App& app, const std::string& path,
                     std::vector<CompletionCommand>* commands) {
  CompletionCommand command;
  command.path = path;
  for (const CLI::Option* option : app.get_options()) AddCompletionOption(*option, &command);
  const auto all = [](const CLI::App*) { return true; };
  const std::vector<const CLI::App*> subcommands = app.get_subcommands(all);
  for (const CLI::App* subcommand : subcommands) {
    command.words.push_back({subcommand->get_name(), subcommand->get_description()});
  }
  commands->push_back(std::move(command));
  for (const CLI::App* subcommand : subcommands) {
    CollectCommands(*subcommand, path + " " + subcommand->get_name(), commands);
  }
}

std::string ShellQuoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string JoinedWords(const std::vector<std::string>& words, const char* separator) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

// The patterns of a case branch: every command but the program itself.
std::string CommandPatterns(const std::vector<CompletionCommand>& commands) {
  std::vector<std::string> patterns;
  for (size_t i = 1; i < commands.size(); ++i) patterns.push_back(ShellQuoted(commands[i].path));
  return JoinedWords(patterns, "|");
}

// "'ckv plot --width'|'ckv plot --height'": "<command> <option>" of all options of a kind.
std::string ValuePatterns(const std::vector<CompletionCommand>& commands,
                          CompletionValue::Kind kind) {
  std::vector<std::string> patterns;
  for (const CompletionCommand& command : commands) {
    for (const CompletionValue& value : command.values) {
      if (value.kind != kind) continue;
      for (const std::string& option : value.options) {
        patterns.push_back(ShellQuoted(command.path + " " + option));
      }
    }
  }
  return JoinedWords(patterns, "|");
}

// One case branch for each option with choices; `action` and `end` go around the choices.
std::string ChoiceBranches(const std::vector<CompletionCommand>& commands, const char* action,
                           const char* end) {
  std::string text;
  for (const CompletionCommand& command : commands) {
    for (const CompletionValue& value : command.values) {
      if (value.kind != CompletionValue::Kind::kChoice) continue;
      std::vector<std::string> patterns;
      for (const std::string& option : value.options) {
        patterns.push_back(ShellQuoted(command.path + " " + option));
      }
      text += Str("    (", JoinedWords(patterns, "|"), ") ", action,
                  JoinedWords(value.choices, " "), end, " ;;\n");
    }
  }
  return text;
}

// Branches of a case over what precedes the cursor, for the options of `kind`, if there are any.
std::string ValueBranch(const std::vector<CompletionCommand>& commands, CompletionValue::Kind kind,
                        const char* action) {
  const std::string patterns = ValuePatterns(commands, kind);
  return patterns.empty() ? "" : Str("    (", patterns, ") ", action, " ;;\n");
}

std::vector<std::string> NamesOf(const std::vector<CompletionWord>& words) {
  std::vector<std::string> names;
  for (const CompletionWord& word : words) names.push_back(word.name);
  return names;
}

// Puts values into the places @NAME@ of a script.
std::string FilledScript(std::string script, const std::map<std::string, std::string>& values) {
  for (const auto& [name, value] : values) {
    const std::string place = "@" + name + "@";
    for (size_t at = 0; (at = script.find(place, at)) != std::string::npos; at += value.size()) {
      script.replace(at, place.size(), value);
    }
  }
  return script;
}

constexpr char kBashScript[] =
    R"sh(# bash completion for @PROGRAM@. For this shell: source <(@PROGRAM@ completion bash)
_@PROGRAM@() {
  local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
  local command=@PROGRAM@ words='' options='' i
  COMPREPLY=()
  # The '=' of --option=value is a word of its own.
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $before == '=' ]]; then
    before=${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$command ${COMP_WORDS[i]}" in
    (@COMMANDS@) command="$command ${COMP_WORDS[i]}" ;;
    esac
  done
  case "$command" in
@WORDS@  esac
  [[ $cur != -* ]] || words=$options
  # An empty reply lets readline propose files.
  case "$command $before" in
@VALUES@  esac
  [[ -z $words ]] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o default -F _@PROGRAM@ @PROGRAM@
)sh";

std::string BashScript(const std::string& program, const std::vector<CompletionCommand>& commands) {
  std::string words;
  for (const CompletionCommand& command : commands) {
    words += Str("    (", ShellQuoted(command.path),
                 ") words=", ShellQuoted(JoinedWords(NamesOf(command.words), " ")),
                 "; options=", ShellQuoted(JoinedWords(NamesOf(command.options), " ")), " ;;\n");
  }
  using Kind = CompletionValue::Kind;
  const std::string values =
      ChoiceBranches(commands, "words='", "'") + ValueBranch(commands, Kind::kFile, "return") +
      ValueBranch(commands, Kind::kNumber, "compopt +o default 2> /dev/null; return");
  return FilledScript(kBashScript, {{"PROGRAM", program},
                                    {"COMMANDS", CommandPatterns(commands)},
                                    {"WORDS", words},
                                    {"VALUES", values}});
}

constexpr char kZshScript[] = R"sh(#compdef @PROGRAM@
# zsh completion for @PROGRAM@. For this shell: source <(@PROGRAM@ completion zsh)
_@PROGRAM@() {
  local command=@PROGRAM@ before=${words[CURRENT-1]} i
  local -a names flags
  if [[ ${words[CURRENT]} == --*=* ]]; then
    before=${words[CURRENT]%%=*}
    compset -P '*='
  fi
  for ((i = 2; i < CURRENT; ++i)); do
    case "$command ${words[i]}" in
    (@COMMANDS@) command="$command ${words[i]}" ;;
    esac
  done
  case "$command $before" in
@VALUES@  esac
  case "$command" in
@WORDS@  esac
  if [[ ${words[CURRENT]} == -* ]]; then
    _describe -o option flags
  elif (( ${#names} )); then
    _describe command names
  else
    _files
  fi
}
if [[ ${funcstack[1]} == _@PROGRAM@ ]]; then
  _@PROGRAM@ "$@"
else
  compdef _@PROGRAM@ @PROGRAM@
fi
)sh";

// An array for zsh's _describe: ('name:help' 'name:help').
std::string DescribedWords(const std::vector<CompletionWord>& words) {
  std::vector<std::string> items;
  for (const CompletionWord& word : words) {
    items.push_back(ShellQuoted(word.help.empty() ? word.name : word.name + ":" + word.help));
  }
  return "(" + JoinedWords(items, " ") + ")";
}

std::string ZshScript(const std::string& program, const std::vector<CompletionCommand>& commands) {
  std::string words;
  for (const CompletionCommand& command : commands) {
    words +=
        Str("    (", ShellQuoted(command.path), ")\n      names=", DescribedWords(command.words),
            "\n      flags=", DescribedWords(command.options), " ;;\n");
  }
  using Kind = CompletionValue::Kind;
  const std::string values = ChoiceBranches(commands, "compadd -- ", "; return") +
                             ValueBranch(commands, Kind::kFile, "_files; return") +
                             ValueBranch(commands, Kind::kNumber, "_message number; return");
  return FilledScript(kZshScript, {{"PROGRAM", program},
                                   {"COMMANDS", CommandPatterns(commands)},
                                   {"WORDS", words},
                                   {"VALUES", values}});
}

struct CompletionOptions {
  std::string shell;
  CommandOutput output;
};

}  // namespace

void AddCompletionCommand(CLI::App& program) {
  const auto options = std::make_shared<CompletionOptions>();
  CLI::App* command =
      program.add_subcommand("completion", "Print the script that lets a shell complete arguments");
  command->add_option("SHELL", options->shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
  options->output.AddOptions(*command);
  command->footer(
      "For every new shell:\n"
      "  echo 'source <(ckv completion bash)' >> ~/.bashrc\n"
      "  ckv completion zsh --out ~/.zfunc/_ckv    # a folder of zsh's fpath, before compinit");
  const CLI::App* root = &program;
  command->callback([options, root] {
    std::vector<CompletionCommand> commands;
    CollectCommands(*root, root->get_name(), &commands);
    const std::string script = options->shell == "bash" ? BashScript(root->get_name(), commands)
                                                        : ZshScript(root->get_name(), commands);
    OrderedJson json;
    json["shell"] = options->shell;
    json["script"] = script;
    options->output.Print(json, script);
  });
}

}  // namespace ckv
