// A chat template in which every part can be told apart.
#pragma once

#include "text/chat_template.h"

namespace ckv {

inline ChatTemplate Marked() {
  ChatTemplate marked;
  marked.tokens = {"<s>", "</s>"};
  marked.begin = "<s>";
  marked.system_text = "Be kind.";
  marked.system = {"[", "]"};
  marked.user = {"Q ", "\n"};
  marked.assistant = {"A", "</s>"};
  marked.stop = {"\nQ"};
  return marked;
}

}  // namespace ckv
