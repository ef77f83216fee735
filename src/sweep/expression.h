// Conditions on the keys of a configuration: "train.batch_size * data.seq_len <= 65536".
//
// Numbers, 'quoted texts', true and false, dotted keys; + - * / % and parentheses; == != < <= > >=;
// and, or, not (also && || !). Texts can be compared for equality and order only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace ckv {

class Expression {
 public:
  // Throws ConfigError(origin, ...) for text that is none.
  Expression(const std::string& text, const std::string& origin);
  ~Expression();
  Expression(Expression&&) noexcept;
  Expression& operator=(Expression&&) noexcept;

  // The YAML text of a key; nullopt: there is no such key.
  using Lookup = std::function<std::optional<std::string>(const std::string& key)>;

  // Whether the condition holds. Throws ConfigError(origin, ...) for a key that is not there, a
  // division by zero, and kinds that do not go together.
  bool Holds(const Lookup& lookup) const;

  const std::string& text() const { return text_; }

  struct Node;

 private:
  std::string text_;
  std::string origin_;
  std::unique_ptr<Node> root_;
};

}  // namespace ckv
