#include "model/prefill.h"

#include "base/error.h"

namespace ckv {
namespace {

struct OrderRow {
  const char* name;
  DecoderRun::Order order;
};

constexpr OrderRow kOrders[] = {
    {"auto", DecoderRun::Order::kConfig},
    {"iterative", DecoderRun::Order::kParallel},
    {"sequential", DecoderRun::Order::kSequential},
    {"chunked", DecoderRun::Order::kChunked},
};

// A number of passes at the start of `text`, which moves behind it; -1 if there is none.
int64_t TakePasses(std::string* text) {
  const size_t digits = text->find_first_not_of("0123456789");
  const size_t length = digits == std::string::npos ? text->size() : digits;
  if (length == 0 || length > 4) return -1;
  const int64_t passes = std::stoll(text->substr(0, length));
  text->erase(0, length);
  return passes;
}

void ReadPasses(const std::string& passes, DecoderRun* run) {
  std::string rest = passes;
  const int64_t forward = TakePasses(&rest);
  const bool comma = !rest.empty() && rest[0] == ',';
  if (comma) rest.erase(0, 1);
  const int64_t backward = TakePasses(&rest);
  const auto fits = [](int64_t count) { return count >= 0 && count <= IterationPlan::kMaxPasses; };
  if (!comma || !rest.empty() || !fits(forward) || !fits(backward)) {
    throw ConfigError("--passes", Str("'", passes, "' is not M,B with both in 0 to ",
                                      IterationPlan::kMaxPasses, ", as in 7,2"));
  }
  run->forward_passes = forward;
  run->backward_passes = backward;
}

}  // namespace

DecoderRun PrefillOptions::Run() const {
  DecoderRun run;
  const OrderRow* found = nullptr;
  std::string known;
  for (const OrderRow& row : kOrders) {
    if (order == row.name) found = &row;
    known += Str(known.empty() ? "" : ", ", row.name);
  }
  if (found == nullptr) throw ConfigError("--prefill", Str("'", order, "' is not one of ", known));
  run.order = found->order;
  if (!passes.empty()) ReadPasses(passes, &run);
  // Not `tolerance < 0`: it may be not a number.
  if (!(tolerance >= 0.0)) throw ConfigError("--tolerance", Str(tolerance, ", but must be >= 0"));
  run.tolerance = tolerance;
  if (chunk_tokens < 1) throw ConfigError("--chunk", Str(chunk_tokens, ", but must be >= 1"));
  run.chunk_tokens = chunk_tokens;
  return run;
}

std::vector<std::string> PrefillOrders() {
  std::vector<std::string> names;
  for (const OrderRow& row : kOrders) names.emplace_back(row.name);
  return names;
}

}  // namespace ckv
