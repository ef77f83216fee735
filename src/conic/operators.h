// The names of the formal language: its 95 operators, the names that stand for themselves, the
// functions that have a value, and the names that cannot be read.
#pragma once

#include <cstdint>
#include <string_view>

namespace ckv::conic {

// An operator of the release's list, with the numbers of arguments that the data show.
struct Operator {
  std::string_view name;
  int min_arguments;
  int max_arguments;
  bool order_free;
};

constexpr int kNumOperators = 95;

// The operator of this name, or null.
const Operator* FindOperator(std::string_view name);

// True if calls of `name` match with their arguments in any order.
bool IsOrderFree(std::string_view name);

// A function of one argument that has a value, by its own name (log for ln), or empty. The
// logarithm may have its base as a second argument.
std::string_view BuiltinName(std::string_view name);

// A name whose call is unreadable: Point, Line, ...
bool CannotBeCalled(std::string_view name);

// A name that is unreadable when it stands without "(".
bool CannotStandAlone(std::string_view name);

// A word that a statement must not contain: and, or, if, ...
bool IsReservedWord(std::string_view name);

}  // namespace ckv::conic
