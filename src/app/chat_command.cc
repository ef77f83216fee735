#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/load_model.h"
#include "app/output.h"
#include "app/prefill_options.h"
#include "app/prompt_builder.h"
#include "app/sampling_options.h"
#include "app/step_options.h"
#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "config/value.h"
#include "gen/chat.h"

namespace ckv {
namespace {

struct ChatCommand {
  ModelArguments model;
  std::string template_path;
  std::string system_text;
  SamplingOptions sampling;
  PrefillArguments prefill;
  StepKind steps = StepKind::kAuto;
  int64_t max_tokens = 512;
  int64_t context = 4096;
  int64_t seed = 0;
  bool json = false;
  std::string out;
};

constexpr char kChatHelp[] =
    "/reset              forget the conversation\n"
    "/save FILE          write the conversation to a file, as JSON\n"
    "/set NAME VALUE     temperature, top_k, top_p, min_p, repetition_penalty, max_tokens, seed\n"
    "/set                show the settings\n"
    "/help               show this\n"
    "/quit               leave (so does the end of the input)\n"
    "Anything else is a message; one that begins with / is written with //.\n";

void Tell(const std::string& text) { std::cerr << text << std::flush; }

std::string ConversationJson(const Chat& chat) {
  OrderedJson json;
  json["messages"] = OrderedJson::array();
  for (const ChatMessage& message : chat.messages()) {
    OrderedJson one;
    one["role"] = message.role;
    one["content"] =
        message.role == "assistant" ? WithoutLeadingSpace(message.content) : message.content;
    json["messages"].push_back(std::move(one));
  }
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

// The loop over lines of stdin: messages and commands.
class ChatLoop {
 public:
  ChatLoop(const ChatCommand& command, LoadedModel& model, const ChatTemplate& chat_template,
           int64_t context)
      : command_(command),
        context_(context),
        chat_(model.decoder, model.NeedTokenizer(), chat_template, context),
        seed_(command.seed),
        interactive_(::isatty(STDIN_FILENO) == 1) {
    options_.sampling = command.sampling;
    options_.prefill = command.prefill.Run(model.decoder->config());
    options_.steps = command.steps;
    options_.max_new_tokens = command.max_tokens;
    options_.stop_ids = PromptBuilder(model, "no").EndIds();
    options_.num_ids = model.tokenizer->vocab_size();
  }

  void Run() {
    if (interactive_) Tell("/help lists the commands.\n");
    std::string line;
    while (NextLine(&line)) {
      const bool is_command = line[0] == '/' && line.compare(0, 2, "//") != 0;
      if (line == "/quit") break;
      if (is_command) {
        RunCommand(line);
      } else {
        Answer(line[0] == '/' ? line.substr(1) : line);
      }
    }
    if (!command_.out.empty()) WriteFileAtomically(command_.out, ConversationJson(chat_));
  }

 private:
  // The next line that is not empty.
  bool NextLine(std::string* line) {
    do {
      if (interactive_) Tell("> ");
      if (!std::getline(std::cin, *line)) return false;
      if (!line->empty() && line->back() == '\r') line->pop_back();
    } while (line->empty());
    return true;
  }

  void Answer(const std::string& message) {
    const uint64_t seed = MixBits(MixBits(static_cast<uint64_t>(seed_)) + num_answers_);
    const ChatReply reply = chat_.Reply(message, options_, seed, [this](const std::string& piece) {
      if (!command_.json) WriteToStdout(piece);
    });
    if (!reply.fits) {
      Tell(Str("The message does not fit: with the template it has ", reply.context_tokens,
               " tokens, and the context has ", context_, ". Please shorten it.\n"));
      return;
    }
    ++num_answers_;
    WriteToStdout(command_.json ? ReplyJson(reply) : "\n");
    if (reply.dropped_messages > 0) {
      Tell(Str("(The context of ", context_, " tokens is full: the ", reply.dropped_messages,
               " oldest messages were forgotten.)\n"));
    }
    if (reply.finish == FinishReason::kContextFull) {
      Tell(Str("(The answer ends here: the context of ", context_, " tokens is full.)\n"));
    } else if (reply.finish == FinishReason::kMaxTokens) {
      Tell(Str("(The answer ends here: it has ", reply.num_tokens, " tokens, see /set.)\n"));
    }
  }

  static std::string ReplyJson(const ChatReply& reply) {
    OrderedJson json;
    json["role"] = "assistant";
    json["content"] = reply.text;
    json["finish"] = FinishName(reply.finish);
    json["tokens"] = reply.num_tokens;
    json["context_tokens"] = reply.context_tokens;
    json["computed_tokens"] = reply.computed_tokens;
    json["forgotten_messages"] = reply.dropped_messages;
    return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
  }

  // A mistake in a command must not end the conversation, so its error is told here.
  void RunCommand(const std::string& line) {
    const size_t space = std::min(line.find(' '), line.size());
    const std::string name = line.substr(0, space);
    const size_t at = std::min(line.find_first_not_of(' ', space), line.size());
    try {
      Dispatch(name, line.substr(at));
    } catch (const Error& error) {
      if (error.exit_code() == kExitInternal) throw;
      Tell(Str("error: ", error.what(), "\n"));
    }
  }

  void Dispatch(const std::string& name, const std::string& argument) {
    if (name == "/help") {
      Tell(kChatHelp);
    } else if (name == "/reset") {
      chat_.Reset();
      Tell("(The conversation is forgotten.)\n");
    } else if (name == "/save") {
      if (argument.empty()) throw ConfigError("/save", "needs the name of a file");
      WriteFileAtomically(argument, ConversationJson(chat_));
      Tell(Str("(Saved to ", argument, ".)\n"));
    } else if (name == "/set") {
      if (!argument.empty()) Set(argument);
      Tell(SettingsText());
    } else {
      throw ConfigError("", Str("unknown command '", name, "'; /help lists them"));
    }
  }

  void Set(const std::string& argument) {
    const size_t space = std::min(argument.find(' '), argument.size());
    const std::string name = argument.substr(0, space);
    const size_t at = argument.find_first_not_of(' ', space);
    if (at == std::string::npos) throw ConfigError("/set " + name, "needs a value");
    ConfigValue value = ConfigValue::Scalar(argument.substr(at));
    value.set_origin("/set");
    GenerateOptions options = options_;
    int64_t seed = seed_;
    if (name == "temperature") {
      options.sampling.temperature = AsDouble(value, name);
    } else if (name == "top_k") {
      options.sampling.top_k = AsInt(value, name);
    } else if (name == "top_p") {
      options.sampling.top_p = AsDouble(value, name);
    } else if (name == "min_p") {
      options.sampling.min_p = AsDouble(value, name);
    } else if (name == "repetition_penalty") {
      options.sampling.repetition_penalty = AsDouble(value, name);
    } else if (name == "max_tokens") {
      options.max_new_tokens = AsInt(value, name);
    } else if (name == "seed") {
      seed = AsInt(value, name);
    } else {
      throw ConfigError("/set", Str("there is no setting '", name, "'; /help lists them"));
    }
    options.sampling.Check();
    if (options.max_new_tokens < 1) {
      throw ConfigError("max_tokens", Str(options.max_new_tokens, ", but must be >= 1"));
    }
    options_ = options;
    seed_ = seed;
  }

  std::string SettingsText() const {
    const SamplingOptions& sampling = options_.sampling;
    return Str("(temperature ", sampling.temperature, ", top_k ", sampling.top_k, ", top_p ",
               sampling.top_p, ", min_p ", sampling.min_p, ", repetition_penalty ",
               sampling.repetition_penalty, ", max_tokens ", options_.max_new_tokens, ", seed ",
               seed_, ")\n");
  }

  const ChatCommand& command_;
  int64_t context_;
  Chat chat_;
  GenerateOptions options_;
  int64_t seed_;
  bool interactive_;
  uint64_t num_answers_ = 0;
};

void RunChat(const ChatCommand& command) {
  command.sampling.Check();
  if (command.max_tokens < 1) {
    throw ConfigError("--max-tokens", Str(command.max_tokens, ", but must be >= 1"));
  }
  if (command.context < 1) {
    throw ConfigError("--context", Str(command.context, ", but must be >= 1"));
  }
  ChatTemplate chat_template = LoadChatTemplate(command.template_path);
  LoadedModel model = LoadModel(command.model);
  if (command.template_path.empty()) chat_template = LoadChatTemplate(model.chat_template);
  if (!command.system_text.empty()) chat_template.system_text = command.system_text;
  const int64_t context =
      std::min(command.context, model.decoder->config().max_position_embeddings);
  ChatLoop(command, model, chat_template, context).Run();
}

}  // namespace

void AddChatCommand(CLI::App& program) {
  const auto options = std::make_shared<ChatCommand>();
  CLI::App* command = program.add_subcommand("chat", "Talk with a model, turn by turn");
  options->model.AddOptions(*command);
  command
      ->add_option("--template", options->template_path,
                   "YAML file that says how messages become text, see configs/chat (default: "
                   "the one the model was trained with, else 'User:' and 'Assistant:')")
      ->type_name("FILE");
  command
      ->add_option("--system", options->system_text,
                   "First message of the conversation, in place of the template's")
      ->type_name("TEXT");
  command->add_option("--max-tokens", options->max_tokens, "Tokens of an answer at most")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--context", options->context,
                   "Tokens of the conversation that are kept, at most what the model takes")
      ->type_name("N")
      ->capture_default_str();
  AddSamplingOptions(*command, options->sampling);
  options->prefill.AddOptions(*command);
  AddStepsOption(*command, options->steps);
  command->add_option("--seed", options->seed, "Of the draws")
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--json", options->json, "Give each answer as one line of JSON");
  command->add_option("--out", options->out, "Write the conversation to a file at the end")
      ->type_name("FILE");
  command->footer(
      "Each line of stdin is a message; /help, typed as one, lists the commands. Answers come on\n"
      "stdout as they are made, all else on stderr.\n\n"
      "Example:\n"
      "  ckv chat experiments/demo/runs/first --template configs/chat/chatml.yaml "
      "--temperature 0.7");
  command->callback([options] { RunChat(*options); });
}

}  // namespace ckv
