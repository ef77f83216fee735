#include "app/passes.h"

#include <optional>

#include "base/error.h"
#include "sharing/plan.h"

namespace ckv {
namespace {

std::optional<int64_t> PassCount(const std::string& text) {
  const bool good = !text.empty() && text.size() <= 6 &&
                    text.find_first_not_of("0123456789") == std::string::npos;
  return good ? std::optional<int64_t>(std::stoll(text)) : std::nullopt;
}

}  // namespace

Passes ParsePasses(const std::string& text) {
  const size_t comma = text.find(',');
  const std::optional<int64_t> first = PassCount(text.substr(0, comma));
  const std::optional<int64_t> second =
      comma == std::string::npos ? std::optional<int64_t>(1) : PassCount(text.substr(comma + 1));
  const auto too_many = [](const std::optional<int64_t>& count) {
    return count.has_value() && *count > IterationPlan::kMaxPasses;
  };
  if (too_many(first) || too_many(second)) {
    throw ConfigError("--passes", Str("'", text, "' is more than ", IterationPlan::kMaxPasses));
  }
  const int64_t least = comma == std::string::npos ? 1 : 0;
  if (!first.has_value() || !second.has_value() || *first < least || *second < 1) {
    throw ConfigError("--passes",
                      Str("'", text, "' is not N passes in all (N >= 1) nor M,B (M >= 0, B >= 1)"));
  }
  return comma == std::string::npos ? Passes{*first - 1, 1} : Passes{*first, *second};
}

}  // namespace ckv
