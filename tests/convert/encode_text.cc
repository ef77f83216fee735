// `encode_text TOKENIZER`: the ids of the text on stdin, separated by spaces. For tests in Python.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>

#include "text/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  for (const int32_t id : ckv::LoadTokenizer(argv[1])->Encode(text)) std::printf("%d ", id);
  return 0;
}
