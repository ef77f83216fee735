#include "config/listing_visitor.h"

#include <utility>

#include "base/str.h"
#include "config/yaml_writer.h"

namespace ckv {
namespace {

std::string ValueYaml(int64_t value) { return Str(value); }
std::string ValueYaml(double value) { return DoubleYaml(value); }
std::string ValueYaml(const std::string& value) { return StringYaml(value); }
template <typename Value>
std::string ValueYaml(const std::optional<Value>& value) {
  return value ? ValueYaml(*value) : "null";
}
template <typename Value>
std::string ValueYaml(const std::vector<Value>& value) {
  std::string text = "[";
  const char* separator = "";
  for (const Value& item : value) {
    text += separator + ValueYaml(item);
    separator = ", ";
  }
  return text + "]";
}

}  // namespace

std::string ListingVisitor::NameOf(const std::string& key) const {
  return names_.empty() || names_.back().empty() ? key : names_.back() + "." + key;
}

void ListingVisitor::AddField(const char* key, const std::string& type, std::string text,
                              const char* help) {
  keys_.push_back({ListedKey::Kind::kField, key, NameOf(key), type, std::move(text), help});
}

void ListingVisitor::Close(ListedKey::Kind kind) {
  keys_.push_back({kind, "", names_.back(), "", "", ""});
  names_.pop_back();
}

void ListingVisitor::Field(const char* key, bool& value, const char* help) {
  AddField(key, "bool", value ? "true" : "false", help);
}
void ListingVisitor::Field(const char* key, int64_t& value, const char* help) {
  AddField(key, "integer", ValueYaml(value), help);
}
void ListingVisitor::Field(const char* key, double& value, const char* help) {
  AddField(key, "number", ValueYaml(value), help);
}
void ListingVisitor::Field(const char* key, std::string& value, const char* help) {
  AddField(key, "string", ValueYaml(value), help);
}
void ListingVisitor::Field(const char* key, std::optional<int64_t>& value, const char* help) {
  AddField(key, "integer or null", ValueYaml(value), help);
}
void ListingVisitor::Field(const char* key, std::optional<double>& value, const char* help) {
  AddField(key, "number or null", ValueYaml(value), help);
}
void ListingVisitor::Field(const char* key, std::vector<int64_t>& value, const char* help) {
  AddField(key, "list of integers", ValueYaml(value), help);
}
void ListingVisitor::Field(const char* key, std::vector<double>& value, const char* help) {
  AddField(key, "list of numbers", ValueYaml(value), help);
}
void ListingVisitor::Field(const char* key, std::vector<std::string>& value, const char* help) {
  AddField(key, "list of strings", ValueYaml(value), help);
}
void ListingVisitor::Field(const char* key, ConfigValue& value, const char* help) {
  AddField(key, "any", FlowYaml(value), help);
}

void ListingVisitor::Choice(const char* key, std::string& value,
                            const std::vector<std::string>& choices, const char* help) {
  std::string type;
  for (const std::string& choice : choices) type += (type.empty() ? "" : " | ") + choice;
  AddField(key, type, ValueYaml(value), help);
}

bool ListingVisitor::BeginSection(const char* key, const char* help) {
  keys_.push_back({ListedKey::Kind::kSection, key, NameOf(key), "section", "", help});
  names_.push_back(NameOf(key));
  return true;
}

void ListingVisitor::EndSection() { Close(ListedKey::Kind::kEndSection); }

int64_t ListingVisitor::BeginList(const char* key, int64_t size, const char* help) {
  keys_.push_back({ListedKey::Kind::kList, key, NameOf(key), "list of sections",
                   size == 0 ? "[]" : Str(size, size == 1 ? " item" : " items"), help});
  names_.push_back(NameOf(key));
  return mode_ == Mode::kDescribe ? 1 : size;
}

void ListingVisitor::BeginItem(int64_t index) {
  names_.push_back(mode_ == Mode::kDescribe ? names_.back() + "[]" : NameOf(Str(index)));
  keys_.push_back({ListedKey::Kind::kItem, "", names_.back(), "", "", ""});
}

void ListingVisitor::EndItem() { Close(ListedKey::Kind::kEndItem); }

void ListingVisitor::EndList() { Close(ListedKey::Kind::kEndList); }

}  // namespace ckv
