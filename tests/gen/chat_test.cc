#include "gen/chat.h"

#include <memory>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/error.h"
#include "config/config.h"
#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"
#include "tests/text/marked_template.h"

namespace ckv {
namespace {

using Strings = std::vector<std::string>;

std::vector<int32_t> BytesOfText(const std::string& text) {
  std::vector<int32_t> ids;
  for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

class ChatTest : public ::testing::Test {
 protected:
  ChatTest() {
    options_.max_new_tokens = 12;
    options_.num_ids = 256;
  }

  static Decoder Model(int64_t positions) {
    DecoderConfig config = TinyConfig("0_3_3_3_4");
    config.vocab_size = 258;
    config.max_position_embeddings = positions;
    return TinyDecoder(config);
  }

  std::unique_ptr<Tokenizer> tokenizer_ = LoadTokenizer("byte");
  GenerateOptions options_;
};

TEST_F(ChatTest, FeedsOnlyWhatIsNew) {
  Decoder decoder = Model(500);
  Chat chat(decoder, *tokenizer_, Marked(), 400);
  std::string streamed;
  const ChatReply first =
      chat.Reply("hello", options_, 1, [&](const std::string& piece) { streamed += piece; });
  EXPECT_EQ(streamed, first.text);
  EXPECT_EQ(first.finish, FinishReason::kMaxTokens);
  EXPECT_EQ(first.context_tokens, 20);  // <s>[Be kind.]Q hello\nA
  EXPECT_EQ(first.computed_tokens, 20);
  const ChatReply second = chat.Reply("again", options_, 2);
  EXPECT_EQ(second.context_tokens, 20 + 12 + 10);
  EXPECT_EQ(second.computed_tokens, 1 + 10);  // the last token of the answer, </s>Q again\nA
  ASSERT_EQ(chat.messages().size(), 5u);
  EXPECT_EQ(chat.messages()[1].content, "hello");
  EXPECT_EQ(WithoutLeadingSpace(chat.messages()[4].content), second.text);

  // The same messages in a new chat: the same answers.
  Chat other(decoder, *tokenizer_, Marked(), 400);
  other.Reply("hello", options_, 1);
  EXPECT_EQ(other.Reply("again", options_, 2).text, second.text);
  other.Reset();
  EXPECT_EQ(other.messages().size(), 1u);
  EXPECT_EQ(other.Reply("hello", options_, 1).text, first.text);
}

// The stop string is taken from what the model says.
TEST_F(ChatTest, CutsAnswersBeforeAStopStringAndKeepsTheirTokens) {
  Decoder decoder = Model(500);
  options_.num_ids = 127;  // single characters
  ChatTemplate marked = Marked();
  const auto answer = [&](const Strings& stop) {
    marked.stop = stop;
    Chat chat(decoder, *tokenizer_, marked, 400);
    chat.Reply("hello", options_, 1);
    return chat.messages().back();
  };
  const ChatMessage whole = answer({});
  ASSERT_EQ(whole.content.size(), 12u);
  const std::string stop = whole.content.substr(6, 3);
  const size_t place = whole.content.find(stop);
  ASSERT_GT(place, 0u);
  const ChatMessage cut = answer({stop});
  EXPECT_EQ(cut.content, whole.content.substr(0, place));
  EXPECT_EQ(cut.tokens, BytesOfText(cut.content));
}

TEST_F(ChatTest, AStopStringThatIsATokenStopsAtTheToken) {
  Decoder decoder = Model(500);
  {
    at::NoGradGuard no_grad;  // every token is as likely as any other: the first one wins, 0
    decoder->head_weight().zero_();
  }
  options_.sampling.temperature = 0.0;
  options_.num_ids = 258;
  ChatTemplate marked = Marked();
  marked.tokens = {"<0x00>", "</s>"};
  marked.begin = "";
  marked.stop = {"<0x00>"};
  Chat chat(decoder, *tokenizer_, marked, 400);
  const ChatReply reply = chat.Reply("hello", options_, 1);
  EXPECT_EQ(reply.finish, FinishReason::kStop);
  EXPECT_EQ(reply.text, "");
}

TEST_F(ChatTest, ForgetsTheOldestMessagesWhereTheContextIsFull) {
  Decoder decoder = Model(500);
  Chat chat(decoder, *tokenizer_, Marked(), 76);
  EXPECT_EQ(chat.Reply("first", options_, 1).dropped_messages, 0);   // 20 tokens, 12 more
  EXPECT_EQ(chat.Reply("second", options_, 2).dropped_messages, 0);  // 43, 12 more
  const ChatReply third = chat.Reply("third", options_, 3);          // 65, no room for 12
  EXPECT_EQ(third.dropped_messages, 2);
  ASSERT_EQ(chat.messages().size(), 5u);
  EXPECT_EQ(chat.messages()[0].content, "Be kind.");
  EXPECT_EQ(chat.messages()[1].content, "second");
  EXPECT_EQ(third.computed_tokens, third.context_tokens);  // the cache starts anew
}

TEST_F(ChatTest, AMessageThatIsTooLongAloneIsNotTaken) {
  Decoder decoder = Model(500);
  Chat chat(decoder, *tokenizer_, Marked(), 80);
  chat.Reply("first", options_, 1);
  const ChatReply reply = chat.Reply(std::string(90, 'x'), options_, 2);
  EXPECT_FALSE(reply.fits);
  EXPECT_EQ(reply.context_tokens, 105);
  EXPECT_EQ(chat.messages().size(), 3u);  // nothing is forgotten
  EXPECT_EQ(chat.Reply("b", options_, 2).dropped_messages, 0);
  // One for which there is hardly room gets a short answer.
  const ChatReply full = chat.Reply(std::string(60, 'x'), options_, 3);
  EXPECT_EQ(full.finish, FinishReason::kContextFull);
  EXPECT_EQ(full.num_tokens, 80 - 75 + 1);
}

}  // namespace
}  // namespace ckv
