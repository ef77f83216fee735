// The visitor behind the dump, the flat list and the table of keys: it notes all that `Visit`
// names, in order.
#pragma once

#include <string>
#include <vector>

#include "config/visitor.h"

namespace ckv {

struct ListedKey {
  enum class Kind { kField, kSection, kEndSection, kList, kEndList, kItem, kEndItem };
  Kind kind;
  std::string key;   // of a field, section or list
  std::string name;  // dotted
  std::string type;
  std::string text;  // the YAML of a field's value; "2 items" of a list
  std::string help;
};

class ListingVisitor : public ConfigVisitor {
 public:
  // kDescribe visits each list of structs with exactly one item, named "[]", so that an empty list
  // still shows its items' keys.
  enum class Mode { kValues, kDescribe };
  explicit ListingVisitor(Mode mode) : mode_(mode) {}

  const std::vector<ListedKey>& keys() const { return keys_; }

  void Field(const char* key, bool& value, const char* help) override;
  void Field(const char* key, int64_t& value, const char* help) override;
  void Field(const char* key, double& value, const char* help) override;
  void Field(const char* key, std::string& value, const char* help) override;
  void Field(const char* key, std::optional<int64_t>& value, const char* help) override;
  void Field(const char* key, std::optional<double>& value, const char* help) override;
  void Field(const char* key, std::vector<int64_t>& value, const char* help) override;
  void Field(const char* key, std::vector<double>& value, const char* help) override;
  void Field(const char* key, std::vector<std::string>& value, const char* help) override;
  void Field(const char* key, ConfigValue& value, const char* help) override;
  void Choice(const char* key, std::string& value, const std::vector<std::string>& choices,
              const char* help) override;
  void Require(bool, const std::string&) override {}

 protected:
  bool BeginSection(const char* key, const char* help) override;
  void EndSection() override;
  int64_t BeginList(const char* key, int64_t size, const char* help) override;
  bool ReplacesItems() const override { return mode_ == Mode::kDescribe; }
  void BeginItem(int64_t index) override;
  void EndItem() override;
  void EndList() override;

 private:
  std::string NameOf(const std::string& key) const;
  void AddField(const char* key, const std::string& type, std::string text, const char* help);
  void Close(ListedKey::Kind kind);

  Mode mode_;
  std::vector<std::string> names_;  // of the open sections, lists and items
  std::vector<ListedKey> keys_;
};

}  // namespace ckv
