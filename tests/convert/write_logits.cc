// `write_logits MODEL_FOLDER IO.safetensors OUT.safetensors`: the logits that the decoder gives for
// `input_ids` (and `attention_mask`, if it is there), as `logits`. For tests in Python.
#include <cstdio>

#include <torch/torch.h>

#include "app/load_model.h"
#include "base/error.h"
#include "ckpt/tensor_file.h"

int main(int argc, char** argv) {
  using namespace ckv;  // NOLINT
  if (argc != 4) return kExitConfig;
  try {
    Decoder decoder(ReadModelConfig(argv[1]));
    LoadModelWeights(argv[1], "model", *decoder);
    decoder->eval();
    const TensorFile io(argv[2]);
    DecoderInput input;
    input.tokens = io.Read("input_ids");
    if (io.Has("attention_mask")) input.key_mask = io.Read("attention_mask").to(at::kBool);
    at::NoGradGuard no_grad;
    WriteTensors(argv[3], {{"logits", decoder->Logits(decoder->Hidden(input))}});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return kExitInternal;
  }
  return kExitOk;
}
